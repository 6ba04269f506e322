"""SIGTERM and SIGUSR1: the step is finished, a checkpoint written, the exit code says so, and what
continues is what would have been."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lightning.fabric.plugins.environments import SLURMEnvironment

from gndpo import callbacks, preemption, train
from gndpo.module import Distillation
from gndpo.runfolder import RunFolder
from tests.durability.conftest import CARRY, GATE, left, saved, steps_of
from tests.runs.conftest import Run

SLURM = {"NTASKS": "1", "JOB_ID": "7", "PROCID": "0", "LOCALID": "0", "NODEID": "0"}

Signalled = Callable[..., None]


@pytest.mark.parametrize(("number", "advantage"), [(signal.SIGTERM, GATE), (signal.SIGUSR1, CARRY)])
def test_the_step_is_finished_and_nothing_is_lost(
    run: Run,
    signalled: Signalled,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    advantage: str,
) -> None:
    """Also under SLURM, where Lightning would requeue the job itself. An evaluation that was due is
    made up for."""
    whole = run(advantage, name="whole")
    for key, value in SLURM.items():
        monkeypatch.setenv(f"SLURM_{key}", value)
    assert SLURMEnvironment.detect()
    signalled(Distillation, "roll", call=2, number=number)
    cut = run(advantage, name="cut")
    assert cut.code == preemption.CODE == 75
    assert cut.status["status"] == "preempted"
    assert steps_of(cut) == [1, 2]
    assert saved(cut.folder) == [2]
    assert cut.status["step"] == 2
    again = run(advantage, "ckpt=last", name="cut")
    assert again.code == 0, again.err
    assert again.status["status"] == "completed"
    assert left(again.folder) == left(whole.folder)


def test_an_evaluation_ends_at_once_and_is_repeated(run: Run, signalled: Signalled) -> None:
    """The last one: every step is done by then, and kept."""
    whole = run("eval.every=0", name="whole")
    signalled(callbacks, "evaluate", call=5)  # three before the first step
    cut = run("eval.every=0", name="cut")
    assert cut.code == preemption.CODE
    assert steps_of(cut) == [1, 2, 3]
    assert saved(cut.folder) == [3]
    assert [row["step"] for row in cut.rows("eval.jsonl")] == [0, 0, 0, 3]
    again = run("eval.every=0", "ckpt=last", name="cut")
    assert again.status["status"] == "completed"
    assert left(again.folder) == left(whole.folder)


@pytest.mark.parametrize(("owner", "name"), [(train, "load_policies"), (callbacks, "evaluate")])
def test_what_comes_before_the_first_step_ends_at_once(
    run: Run, signalled: Signalled, owner: Any, name: str
) -> None:
    signalled(owner, name, call=1)
    done = run()
    assert done.code == preemption.CODE
    assert done.status["status"] == "preempted"
    assert not done.rows()
    assert not saved(done.folder)


def test_a_sweep_stops_and_goes_on_where_it_stopped(
    command: Any, small: list[str], tmp_path: Path, signalled: Signalled
) -> None:
    sweep = ["-m", *small, "steps=2", "seed=0,1", f"hydra.sweep.dir={tmp_path}"]
    arguments = [*sweep, "hydra.sweep.subdir=${seed}"]
    signalled(Distillation, "roll", call=1)
    code, err = command(train.main, *arguments)
    assert code == preemption.CODE
    assert "0 of 2 jobs finished" in err
    assert "0: preempted: asked to leave; ckpt=last continues it" in err
    assert not RunFolder(tmp_path / "1").status()
    code, err = command(train.main, *arguments)
    assert code == 0, err
    assert "2 of 2 jobs finished" in err
    for name in "01":
        assert [row["step"] for row in left(tmp_path / name)["metrics.jsonl"]] == [1, 2]


def test_a_second_signal_ends_the_process_at_once() -> None:
    child = os.fork()
    if child == 0:
        with preemption.listening():
            signal.raise_signal(signal.SIGTERM)  # waits: no job is at work
            signal.raise_signal(signal.SIGTERM)
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGTERM


def test_a_job_beside_others_returns_and_starts_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its exit would take the workers beside it along; a signal that comes twice, from the cluster
    and from the sweep, is one."""
    monkeypatch.setenv(preemption.PARALLEL, "1")
    reached = []

    def sweep() -> None:
        with preemption.listening():
            with preemption.heeding(), preemption.waiting(False):
                reached.append("the first job")
                signal.raise_signal(signal.SIGTERM)
                reached.append("what came after the signal")
            signal.raise_signal(signal.SIGTERM)
            with preemption.heeding(), preemption.waiting(False):
                reached.append("the next job")

    with pytest.raises(preemption.Preempted):
        sweep()
    assert reached == ["the first job"]


def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in preemption.SIGNALS]
    with preemption.listening():
        assert signal.getsignal(signal.SIGTERM) is preemption.receive
    assert [signal.getsignal(number) for number in preemption.SIGNALS] == before
