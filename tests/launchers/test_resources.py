"""What a job gets of its machine."""

import multiprocessing
import os
from multiprocessing.managers import BarrierProxy
from types import SimpleNamespace
from typing import Any

import pytest
from hydra.types import RunMode
from joblib import Parallel, delayed
from omegaconf import OmegaConf

from gndpo.resources import DEVICES, deal, dealt, share


@pytest.mark.parametrize(
    ("jobs", "worker", "devices"),
    [
        (8, 3, [3]),
        (16, 11, [3]),  # two workers to a device
        (4, 3, [6, 7]),  # two devices to a worker
        (3, 2, [4, 5]),  # two stay idle
        (-1, 9, [1]),
        (8, 8, [0]),  # a worker that came in the place of another
    ],
)
def test_devices_are_dealt_evenly(jobs: int, worker: int, devices: list[int]) -> None:
    assert list(dealt(range(8), jobs, worker)) == devices


def test_without_devices_none_are_dealt() -> None:
    assert list(dealt([], 2, 1)) == []


def met(barrier: BarrierProxy, launcher: Any) -> tuple[int, str]:
    """Of a job of a worker, which waits until both workers have one."""
    barrier.wait(60)
    deal(launcher)
    return os.getpid(), os.environ[DEVICES]


def test_a_worker_of_joblib_has_its_own_device_for_all_its_jobs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(DEVICES, "5,7")
    launcher = OmegaConf.create({"n_jobs": 2})
    with multiprocessing.Manager() as manager:
        barrier = manager.Barrier(2)
        done = Parallel(n_jobs=2, batch_size=1)(delayed(met)(barrier, launcher) for _ in range(4))
    assert len(set(done)) == 2  # two processes, one device each
    assert {device for _, device in done} == {"5", "7"}
    deal(launcher)
    assert os.environ[DEVICES] == "5,7", "the process that launches sees all"


@pytest.mark.parametrize(
    ("launcher", "cores"),
    [
        ({}, 8),
        ({"n_jobs": 2}, 4),
        ({"n_jobs": -1}, 1),
        ({"n_jobs": 20}, 1),
        ({"cpus_per_task": 3}, 3),
        ({"cpus_per_task": None}, 8),
        ({"remote": {"num_cpus": 2}}, 2),
    ],
)
def test_cores_of_a_job(launcher: dict[str, Any], cores: int) -> None:
    settings = SimpleNamespace(mode=RunMode.MULTIRUN, launcher=OmegaConf.create(launcher))
    assert share(settings, 8) == cores
    assert share(SimpleNamespace(mode=RunMode.RUN, launcher=settings.launcher), 8) == 8
