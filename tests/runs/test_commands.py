"""The commands as a newcomer meets them: help, the README, W&B offline, a wheel elsewhere."""

import os
import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from gndpo import evaluate, export, pretrain, train
from gndpo.report import cli

ROOT = Path(__file__).parents[2]
LINES = re.findall(r"^    (gndpo-train .*?)(?: +#.*)?$", (ROOT / "README.md").read_text(), re.M)


@pytest.mark.parametrize("app", [train, evaluate, pretrain, export], ids=lambda app: app.__name__)
@pytest.mark.parametrize("flag", ["--help", "--cfg=job"])
def test_every_command_explains_itself(command: Any, app: Any, flag: str) -> None:
    code, err = command(app.main, flag)
    assert code == 0, err


REAL = [line for line in LINES if re.search(r"quickstart_gpu|experiment=gndpo/|data=local", line)]
"""What needs a GPU, the Hub or rows of one's own: run with tiny twins by test_preset_runs.py."""


@pytest.mark.parametrize(
    "line", [line for line in LINES if "glob(methods/*)" not in line and line not in REAL]
)
def test_the_lines_of_the_readme_run(
    command: Any, small: list[str], tmp_path: Path, line: str
) -> None:
    """Those that sweep over methods are test_methods.py, one method at a time; long sweeps have one
    seed here."""
    arguments = [word for word in shlex.split(line)[1:] if "launcher" not in word]
    if "glob" in line or "ladder" in line:
        arguments = [word.replace("seed=0,1,2", "seed=0") for word in arguments]
    folders = [f"hydra.run.dir={tmp_path}/one", f"hydra.sweep.dir={tmp_path}/sweep"]
    code, err = command(train.main, *arguments, *small, "steps=1", *folders)
    assert code == 0, err
    cli.main([str(tmp_path)])
    assert (tmp_path / "report" / "report.md").exists()


@pytest.mark.parametrize("line", REAL)
def test_the_lines_with_real_models_compose(command: Any, line: str) -> None:
    arguments = [word for word in shlex.split(line)[1:] if word != "-m"]
    one_each = [re.sub(r"=([^,{]*),.*", r"=\1", word) for word in arguments]
    code, err = command(train.main, *one_each, "--cfg=job")
    assert code == 0, err


def test_the_readme_has_lines_to_run() -> None:
    assert len(LINES) >= 4
    assert len(REAL) == 3


def test_every_job_of_a_sweep_is_a_wandb_run_of_its_own(
    command: Any, small: list[str], tmp_path: Path
) -> None:
    folders = [f"hydra.sweep.dir={tmp_path}", "hydra.sweep.subdir=${seed}"]
    code, err = command(train.main, "-m", *small, "steps=1", "seed=0,1", "logger=wandb", *folders)
    assert code == 0, err
    runs = [sorted((tmp_path / seed / "wandb").glob("offline-run-*/*.wandb")) for seed in "01"]
    assert [len(files) for files in runs] == [1, 1]
    assert all(b"grad/norm" in files[0].read_bytes() for files in runs)


def test_a_wheel_carries_its_configuration_and_works_elsewhere(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path)]
    done = subprocess.run([*build, str(ROOT)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    elsewhere = subprocess.run(
        [sys.executable, "-m", "gndpo.train", "--cfg", "job", "experiment=demo"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
    )
    assert elsewhere.returncode == 0, elsewhere.stderr
    assert "advantage:" in elsewhere.stdout
    assert (tmp_path / "site" / "gndpo" / "conf" / "advantage" / "gndpo.yaml").exists()
