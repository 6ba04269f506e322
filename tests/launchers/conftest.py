"""Whole sweeps of tiny models, in processes of their own."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gndpo.runfolder import RunFolder, read_rows
from tests.runs.conftest import pair

__all__ = ["pair"]

STEPS = 4
LAUNCHERS = {
    "joblib": ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"],
    "submitit": ["hydra/launcher=submitit_local", "hydra.launcher.cpus_per_task=1"],
    "ray": [
        "hydra/launcher=ray",
        "+hydra.launcher.init.num_cpus=2",
        "+hydra.launcher.init.object_store_memory=80000000",
    ],
}
"""Each with room for two jobs."""
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "GNDPO_MODULES": "tests.",
    "RAY_worker_niceness": "0",  # of Ray 15, which starves on a machine with other work
}


@dataclass(frozen=True)
class Swept:
    """Exit code, what was printed, the sweep's folder."""

    code: int
    err: str
    folder: Path

    @property
    def runs(self) -> dict[str, RunFolder]:
        return {file.parent.name: RunFolder(file.parent) for file in self.folder.glob("*/run.json")}

    def losses(self, name: str) -> list[tuple[int, float]]:
        rows = read_rows(self.folder / name / "metrics.jsonl")
        return [(row["step"], row["train/loss"]) for row in rows]


Sweep = Callable[..., Swept]


@pytest.fixture(scope="session")
def tiny(pair: dict[str, Path]) -> list[str]:
    """Overrides of runs that last a second, with a checkpoint at every step."""
    return [
        "model=checkpoints",
        *(f"model.pair.{name}={folder}" for name, folder in pair.items()),
        *("logger=none", f"steps={STEPS}", "prompts=4", "rollout.group=2", "rollout.max_tokens=6"),
        *("eval.validation=4", "eval.test=4", "eval.k=0", "eval.every=0", "diagnose.every=0"),
        *("schedule.warmup=1", "checkpoint.every=1"),
    ]


def start(folder: Path, overrides: Sequence[str]) -> Swept:
    of = [f"hydra.sweep.dir={folder}", "hydra.sweep.subdir=${seed}"]
    done = subprocess.run(
        [str(Path(sys.executable).with_name("gndpo-train")), "-m", *overrides, *of],
        capture_output=True,
        text=True,
        env=os.environ | ENVIRONMENT,
    )
    return Swept(done.returncode, done.stdout + done.stderr, folder)


@pytest.fixture
def sweep(tiny: list[str], tmp_path: Path) -> Sweep:
    """sweep("seed=0,1", "hydra/launcher=joblib"): two starts of it share a folder."""
    return lambda *overrides: start(tmp_path / "sweep", [*tiny, *overrides])


@pytest.fixture(scope="session")
def alone(tiny: list[str], tmp_path_factory: pytest.TempPathFactory) -> Swept:
    """Seeds 0 and 1 one after the other, never disturbed."""
    return start(tmp_path_factory.mktemp("alone"), [*tiny, "seed=0,1"])


@pytest.fixture
def stop(tmp_path: Path) -> Callable[..., list[str]]:
    """stop("SIGKILL"): overrides with which every job sends itself the signal, once."""

    def overrides(number: str, step: int = 3) -> list[str]:
        section: dict[str, Any] = {
            "_target_": "tests.launchers.stops.Stop",
            "step": step,
            "marker": f"{tmp_path}/stopped-${{seed}}",
            "number": number,
        }
        return [f"+callbacks.stop.{key}={value}" for key, value in section.items()]

    return overrides
