"""Steps of several processes on the processor, and the same step of one."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gndpo.engines.server import free_port
from tests.runs.conftest import build_checkpoint

SCRIPT = Path(__file__).parent / "step.py"

Found = dict[str, dict[str, list[Any]]]
"""By strategy: of every step its advantages in row order, its metrics, the weights after it."""


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Overrides of two steps in float64, five prompts: no number of ranks divides them."""
    root = tmp_path_factory.mktemp("pair")
    pair = {
        name: build_checkpoint(root / name, seed=layers, layers=layers)
        for name, layers in (("student", 1), ("teacher", 2))
    }
    return [
        *("model=checkpoints", "model.dtype=float64", "model.teacher_dtype=float64"),
        *(f"model.pair.{name}={path}" for name, path in pair.items()),
        *("logger=none", "callbacks.terminal.every=0", "optimizer=sgd", "optimizer.lr=0.1"),
        *("steps=2", "prompts=5", "rollout.group=2", "rollout.max_tokens=6", "schedule.warmup=0"),
        *("eval.validation=3", "eval.test=3", "eval.k=2", "eval.every=0"),
        *("diagnose.every=1", "diagnose.prompts=3", "checkpoint.every=0"),
    ]


@pytest.fixture(scope="session")
def steps(small: list[str], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Found]:
    """steps(3, "ddp", ["gndpo"], "updates.micro=1"): what three ranks found."""

    def take(count: int, trainer: str, strategies: list[str], *overrides: str) -> Found:
        out = tmp_path_factory.mktemp(f"{trainer}{count}") / "found.pt"
        command = [sys.executable, str(SCRIPT), str(out), trainer, *strategies]
        shared = os.environ | {
            **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())},
            **{"WORLD_SIZE": str(count), "OMP_NUM_THREADS": "1"},
        }
        started = [
            subprocess.Popen(
                [*command, "--", *small, *overrides],
                env=shared | {"RANK": str(i), "LOCAL_RANK": str(i)},
                stderr=subprocess.PIPE,
            )
            for i in range(count)
        ]
        said = [process.communicate(timeout=900)[1].decode() for process in started]
        assert [process.returncode for process in started] == [0] * count, said
        found: Found = torch.load(out)
        return found

    return take
