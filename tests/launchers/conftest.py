"""Whole sweeps of tiny models, in processes of their own."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gndpo.runfolder import RunFolder, read_rows
from tests.runs.conftest import pair, small

__all__ = ["pair", "small"]

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


@pytest.fixture
def sweep(small: list[str], tmp_path: Path) -> Sweep:
    """sweep("seed=0,1", "hydra/launcher=joblib"): two starts of it share a folder."""

    def start(*overrides: str, folder: str = "sweep") -> Swept:
        of = [f"hydra.sweep.dir={tmp_path / folder}", "hydra.sweep.subdir=${seed}"]
        command = [str(Path(sys.executable).with_name("gndpo-train")), "-m"]
        few = [f"steps={STEPS}", "eval.every=0", "diagnose.every=0", "checkpoint.every=1"]
        done = subprocess.run(
            [*command, *small, *few, *of, *overrides],
            capture_output=True,
            text=True,
            env=os.environ | ENVIRONMENT,
        )
        return Swept(done.returncode, done.stdout + done.stderr, tmp_path / folder)

    return start


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
