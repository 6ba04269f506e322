"""What a job of a sweep gets of its machine: cores, and devices."""

import multiprocessing
import os
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

DEVICES = "CUDA_VISIBLE_DEVICES"


def threads(settings: Any) -> int:
    """Cores of a job: those that its launcher asks for, else an equal share. Two processes with
    two threads each on two cores run ten times slower than with one each."""
    cores = len(os.sched_getaffinity(0))
    wanted = int(os.environ.get("OMP_NUM_THREADS", cores))
    return max(1, min(wanted, cores, share(settings, cores)))


def share(settings: Any, cores: int) -> int:
    if settings.mode != RunMode.MULTIRUN:
        return cores
    launcher = settings.launcher
    asked = OmegaConf.select(launcher, "cpus_per_task") or OmegaConf.select(
        launcher, "remote.num_cpus"
    )
    jobs = launcher.get("n_jobs", 1)
    return int(asked or cores // (cores if jobs < 1 else min(jobs, cores)))


def deal(launcher: DictConfig) -> None:
    """Before a job of joblib begins, its worker's devices become the only ones that it sees. SLURM
    and Ray deal devices themselves."""
    kind, _, number = multiprocessing.current_process().name.rpartition("-")
    if kind == "LokyProcess" and (names := of_this_worker(launcher.n_jobs, int(number) - 1)):
        os.environ[DEVICES] = names


@cache
def of_this_worker(jobs: int, worker: int) -> str:
    """Found once: afterwards the process sees its own devices alone."""
    visible = os.environ.get(DEVICES)
    every = range(torch.cuda.device_count()) if visible is None else visible.split(",")
    return ",".join(map(str, dealt(every, jobs, worker)))


def dealt(devices: Sequence[Any], jobs: int, worker: int) -> Sequence[Any]:
    """The devices of one of `jobs` workers (below 1: of any number), counted from 0: several each
    while there are enough, else workers share one."""
    each = max(1, len(devices) // jobs) if jobs > 0 else 1
    at = worker * each % max(1, len(devices))
    return devices[at : at + each]
