"""gndpo-angles on a run: files, a table, the same numbers again, nothing of the run touched."""

import json
from pathlib import Path
from typing import Any

import pytest

from gndpo import angles
from gndpo.report.angles import PAIRS
from tests.runs.conftest import Run

QUICK = ("prompts=3", "group=2", "bins=3", "repeats=2", "gammas=[1,2]")


def test_angles_of_a_run(run: Run, command: Any, capsys: Any) -> None:
    done = run()
    before = {f: f.read_bytes() for f in done.folder.rglob("*") if f.is_file()}
    code, err = command(angles.main, f"run={done.folder}", *QUICK)
    assert code == 0, err
    found = json.loads((done.folder / "angles.json").read_text())
    assert (done.folder / "angles.png").stat().st_size > 10_000
    assert {f: f.read_bytes() for f in before} == before
    assert found["step"] == 3
    assert [row["bin"] for row in found["bins"]] == [0, 1, 2]
    assert sum(row["tokens"] for row in found["bins"]) == found["all"]["tokens"]
    visual = [row["visual_dependency"]["mean"] for row in found["bins"]]
    assert visual == sorted(visual)
    assert visual[0] < visual[-1]
    for row in [*found["bins"], found["all"]]:
        for pair in PAIRS:
            assert len(row[pair]["values"]) == 2
            assert 0 <= row[pair]["mean"] <= 180
    assert [row["gamma"] for row in found["eta"]] == [1, 2]
    assert found["eta"][0]["eta"]["mean"] != found["eta"][1]["eta"]["mean"]


def test_the_same_again_elsewhere_and_otherwise_with_another_seed_or_step(
    run: Run, command: Any, tmp_path: Path
) -> None:
    done = run("checkpoint.every=2")

    def measured(*overrides: str) -> Any:
        out = tmp_path / "elsewhere"
        code, err = command(angles.main, f"run={done.folder}", f"out={out}", *QUICK, *overrides)
        assert code == 0, err
        return json.loads((out / "angles.json").read_text())

    first = measured()
    assert measured() == first
    assert not (done.folder / "angles.json").exists()
    changed = [measured(x) for x in ("seed=1", "checkpoint=2", "checkpoint=base", "split=test")]
    assert [x["step"] for x in changed] == [3, 2, 0, 3]
    assert all(x["all"]["std-vis"] != first["all"]["std-vis"] for x in changed)


SENTENCES = {
    "run=null": "which run?",
    "run=/nowhere": "is not a run folder",
    "checkpoint=7": "use one of these steps",
    "checkpoint=teacher": "the gradients are the student's",
    "split=train": "choose validation or test",
    "bins=1000": "tokens are too few for bins=1000",
    "bins=0": "bins=0 must be a whole number, 1 or larger",
    "repeats=1": "repeats=1 must be a whole number, 2 or larger",
    "gammas=2": "must be a list of numbers",
    "gammas=[]": "must be a list of numbers",
    "gammas=[-1]": "must be a list of numbers larger than 0",
    "binz=3": "binz",
}


def test_a_mistake_is_one_sentence(run: Run, command: Any) -> None:
    done = run()
    for override, sentence in SENTENCES.items():
        code, err = command(angles.main, f"run={done.folder}", *QUICK, override)
        assert code != 0, override
        assert sentence in err
        assert "Traceback" not in err


@pytest.mark.parametrize("flag", ["--help", "--cfg=job"])
def test_the_command_explains_itself(command: Any, flag: str) -> None:
    code, err = command(angles.main, flag)
    assert code == 0, err
