"""Every launcher runs a sweep, and continues one whose jobs were killed."""

from collections.abc import Callable

import pytest

from tests.launchers.conftest import LAUNCHERS, STEPS, Sweep, Swept

pytestmark = pytest.mark.slow

Stop = Callable[..., list[str]]


def complete(done: Swept) -> bool:
    return all(run.status()["status"] == "completed" for run in done.runs.values())


@pytest.mark.parametrize("launcher", ["submitit", "ray"])
def test_jobs_beside_each_other_compute_what_they_do_alone(
    sweep: Sweep, alone: Swept, launcher: str
) -> None:
    done = sweep("seed=0,1", *LAUNCHERS[launcher])
    assert done.code == 0, done.err
    assert "2 of 2 jobs finished" in done.err
    assert complete(done)
    assert {run.status()["threads"] for run in done.runs.values()} == {1}
    assert [len(done.losses(name)) for name in "01"] == [STEPS, STEPS]
    assert [done.losses(name) for name in "01"] == [alone.losses(name) for name in "01"]
    times = [(run.path / "metrics.jsonl").stat().st_mtime_ns for run in done.runs.values()]
    assert sweep("seed=0,1", *LAUNCHERS[launcher]).code == 0
    assert times == [
        (run.path / "metrics.jsonl").stat().st_mtime_ns for run in done.runs.values()
    ], "finished jobs are skipped"


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_sweep_whose_jobs_were_killed_is_continued(
    sweep: Sweep, stop: Stop, alone: Swept, launcher: str
) -> None:
    once = ["hydra.launcher.remote.max_retries=0"] if launcher == "ray" else []
    killed = sweep("seed=0,1", *stop("SIGKILL"), *LAUNCHERS[launcher], *once)
    assert killed.code != 0
    assert "jobs finished" in killed.err
    assert not complete(killed)
    assert {len(killed.losses(name)) for name in killed.runs} <= {2, STEPS}
    again = sweep("seed=0,1", *stop("SIGKILL"), *LAUNCHERS[launcher], *once)
    assert again.code == 0, again.err
    assert complete(again)
    assert [again.losses(name) for name in "01"] == [alone.losses(name) for name in "01"]


def test_ray_starts_a_job_again_whose_process_died(sweep: Sweep, stop: Stop) -> None:
    done = sweep("seed=0,1", *stop("SIGKILL"), *LAUNCHERS["ray"])
    assert done.code == 0, done.err
    assert complete(done)
    assert [[step for step, _ in done.losses(name)] for name in "01"] == [[1, 2, 3, 4]] * 2


def test_a_job_of_ray_that_died_for_good_stops_no_other(sweep: Sweep, stop: Stop) -> None:
    settings = ["hydra.launcher.remote.max_retries=0", "callbacks.stop.step=${seed}"]
    done = sweep("seed=3,9", *stop("SIGKILL"), *LAUNCHERS["ray"], *settings)
    assert done.code == 1
    assert "job 0 died with its process (WorkerCrashedError)" in done.err
    assert done.runs["9"].status()["status"] == "completed"


@pytest.mark.parametrize("number", ["SIGTERM", "SIGUSR1", "SIGUSR2"])
def test_a_job_that_submitit_asks_to_leave_is_continued_from_the_queue(
    sweep: Sweep, stop: Stop, alone: Swept, number: str
) -> None:
    """SIGUSR2 is what submitit has SLURM send before the time limit, SIGTERM what SLURM sends
    before it takes a node."""
    done = sweep("seed=0", *stop(number), "checkpoint.every=0", *LAUNCHERS["submitit"])
    assert done.code == 0, done.err
    assert complete(done)
    logs = [log.read_text() for log in done.folder.glob(".submitit/*/*_log.*")]
    assert any("continuing" in log and "after step 3" in log for log in logs), "no step was lost"
    assert done.losses("0") == alone.losses("0")
