"""Sweeps: failures are named and survived, finished jobs skipped, jobs run side by side."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gndpo import train
from gndpo.runfolder import RunFolder, read_rows
from gndpo.sweeps import count_jobs


@pytest.mark.parametrize(
    ("overrides", "jobs"), [(["seed=0"], 1), (["advantage=raw_kl,gndpo", "seed=range(3)"], 6)]
)
def test_the_size_of_a_grid(overrides: list[str], jobs: int) -> None:
    assert count_jobs(overrides) == jobs


def folders(root: Path) -> dict[str, dict[str, Any]]:
    return {file.parent.name: RunFolder(file.parent).status() for file in root.glob("*/run.json")}


def test_a_failed_job_stops_no_other_and_finished_ones_are_skipped(
    command: Any, small: list[str], tmp_path: Path
) -> None:
    grid = ["-m", *small, "advantage=raw_kl,gndpo", "optimizer.lr=-1,1e-3"]
    short = "hydra.sweep.subdir=${advantage._target_}-${optimizer.lr}"
    arguments = [*grid, f"hydra.sweep.dir={tmp_path}", short]
    code, err = command(train.main, *arguments)
    assert code != 0
    assert "2 of 4 jobs finished" in err
    assert "optimizer.lr=-1 must be a number larger than 0" in err
    states = folders(tmp_path)
    assert (
        sorted(status["status"] for status in states.values()) == ["completed"] * 2 + ["failed"] * 2
    )
    done = [name for name, status in states.items() if status["status"] == "completed"]
    before = {name: (tmp_path / name / "metrics.jsonl").stat().st_mtime_ns for name in done}
    command(train.main, *arguments)
    assert before == {name: (tmp_path / name / "metrics.jsonl").stat().st_mtime_ns for name in done}


def test_jobs_run_side_by_side_and_equal_jobs_run_alone(
    small: list[str], tmp_path: Path, run: Any
) -> None:
    arguments = [
        *small,
        "seed=0,1",
        f"hydra.sweep.dir={tmp_path}/sweep",
        "hydra.sweep.subdir=${seed}",
    ]
    parallel = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    done = subprocess.run(
        [sys.executable, "-m", "gndpo.train", "-m", *arguments, *parallel],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert "2 of 2 jobs finished" in done.stderr
    alone = run("seed=1", name="alone").rows()
    beside = list(read_rows(tmp_path / "sweep" / "1" / "metrics.jsonl"))
    assert [row["train/loss"] for row in alone] == [row["train/loss"] for row in beside]
