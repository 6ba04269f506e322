"""SIGKILL, anywhere: what continues ends as what was never stopped."""

import itertools
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from killing import PLACES, start

from gndpo import checkpoints, preemption
from gndpo.report.load import read_run
from gndpo.runfolder import RunFolder
from tests.durability.conftest import CARRY, GATE, left, saved

pytestmark = pytest.mark.slow

KILLS = 21
LATEST = {"row": 6, "file of a checkpoint": 5, "name of a checkpoint": 9}
"""A run is killed at a call of a place between the first and this one (else the second): within
two steps."""


@pytest.mark.parametrize("advantage", [GATE, CARRY])
def test_a_run_that_is_killed_again_and_again_ends_as_if_it_had_not_been(
    small: list[str], tmp_path: Path, advantage: str
) -> None:
    often = [advantage, "steps=32", "eval.every=4", "checkpoint.every=1", "checkpoint.keep=2"]
    arguments = [*small, *often, "updates.minibatches=2"]
    assert start([*arguments, f"hydra.run.dir={tmp_path}/whole"]).code == 0
    cut = tmp_path / "cut"
    draw = random.Random(0)
    killed: Counter[str] = Counter()
    for place in itertools.islice(itertools.cycle(PLACES), KILLS):
        call = draw.randint(1, LATEST.get(place, 2))
        again = [*arguments, "ckpt=last", f"hydra.run.dir={cut}"]
        ended = start(again, kill=place, call=call)
        assert ended.code == -signal.SIGKILL, f"ended by itself, {killed.total()} kills before"
        killed[place] += 1
        check_left_by_kill(cut)
    assert min(killed[place] for place in PLACES) == KILLS // len(PLACES)
    assert start([*arguments, "ckpt=last", f"hydra.run.dir={cut}"]).code == 0
    assert left(cut) == left(tmp_path / "whole")


def check_left_by_kill(folder: Path) -> None:
    """Whole checkpoints alone, nothing lost but what came after the last, a folder that reports
    read."""
    steps = [row["step"] for row in read_run(folder).metrics]
    assert steps == [*range(1, len(steps) + 1)]
    paths = checkpoints.found(folder / "checkpoints")
    assert not [path for path in paths.values() if checkpoints.trouble_of(path)]
    assert max(paths, default=0) in (len(steps), len(steps) - 1)
    assert RunFolder(folder).seen()["status"] == "interrupted"


@pytest.mark.parametrize("everybody", [False, True])
def test_a_parallel_sweep_finishes_its_steps_and_starts_no_other_job(
    small: list[str], tmp_path: Path, everybody: bool
) -> None:
    """everybody: the cluster signals every process, and the sweep its jobs once more."""
    folders = [f"hydra.sweep.dir={tmp_path}", "hydra.sweep.subdir=${seed}"]
    parallel = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    arguments = [*small, "steps=10000", "seed=0,1,2,3,4", *folders, *parallel]
    with subprocess.Popen(
        [sys.executable, "-m", "gndpo.train", "-m", *arguments],
        start_new_session=True,
        stderr=subprocess.PIPE,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    ) as sweep:
        while not all((tmp_path / f"{seed}" / "metrics.jsonl").exists() for seed in (0, 1)):
            assert is_running(sweep)
        (os.killpg if everybody else os.kill)(sweep.pid, signal.SIGTERM)
        said = sweep.communicate()[1].decode()
    assert sweep.returncode == preemption.CODE, said
    assert "0 of 5 jobs finished" in said
    for seed in (0, 1):
        folder = RunFolder(tmp_path / f"{seed}")
        steps = [row["step"] for row in read_run(folder.path).metrics]
        assert saved(folder.path)[-1:] == steps[-1:] == [folder.status()["step"]]
        assert folder.status()["status"] == "preempted"
    assert not [seed for seed in (2, 3, 4) if RunFolder(tmp_path / f"{seed}").status()]


def is_running(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(0.2)
    except subprocess.TimeoutExpired:
        return True
    return False
