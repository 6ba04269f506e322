"""experiments/<paper>: the README has every row's command, run.sh prints what gndpo-table says."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gndpo.tables.definition import names

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.fixture
def run_script(tmp_path):
    """run_script("vgs", "main"): run.sh with DRY=1 and this checkout's gndpo-table."""
    shim = tmp_path / "gndpo-table"
    shim.write_text(f'#!/bin/sh\nexec {sys.executable} -m gndpo.tables.cli "$@"\n')
    shim.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"

    def call(paper: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", str(EXPERIMENTS / paper / "run.sh"), *arguments],
            env={**os.environ, "PATH": path, "DRY": "1"},
            capture_output=True,
            text=True,
            check=False,
        )

    return call


@pytest.mark.parametrize("name", names())
def test_every_row_stands_in_the_readme(table, name) -> None:
    text = (EXPERIMENTS / name.partition("/")[0] / "README.md").read_text()
    assert f"`{name}`" in text
    one = table(name)
    for row in one.rows.values():
        arm = (row.arm or "").removesuffix(one.stand_in).strip()
        assert not row.trained or f"{arm.removeprefix('advantage=')}`" in text or f"{arm} " in text
        assert row.experiment is None or row.experiment in text


def shown(text: str, name: str) -> list[str]:
    """The cells of a table's line among those on cost."""
    (line,) = [x for x in text.splitlines() if x.startswith(f"| `{name}` |")]
    return [cell.strip() for cell in line.split("|")[2:-1]]


@pytest.mark.parametrize("name", names())
def test_the_readme_counts_the_runs(table, name) -> None:
    text = (EXPERIMENTS / name.partition("/")[0] / "README.md").read_text()
    trained = sum(row.trained for row in table(name).rows.values())
    assert shown(text, name)[0] == str(3 * trained)


def test_tropds_tables_share_runs(table) -> None:
    tables = [table(f"tropd/{name}") for name in ("math", "single_domain", "ablation")]
    rows = [tuple(row.overrides) for one in tables for row in one.rows.values() if row.trained]
    assert (3 * len(rows), 3 * len(set(rows))) == (63, 36)


def test_the_script_prints_the_commands_and_runs_none(run_script) -> None:
    done = run_script("tropd", "ablation", "seeds=[0]")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == (
        "gndpo-train -m experiment=tropd/r1_distill_1_5b advantage=tropd/mask seed=0 sweep=tropd"
    )
    assert len(lines) == 2 * 7


def test_the_script_asks_for_a_table(run_script) -> None:
    done = run_script("vgs")
    assert done.returncode != 0
    assert "which table? its README names them" in done.stderr
