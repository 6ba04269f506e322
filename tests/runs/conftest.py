"""Whole commands in this process, on tiny random checkpoints that are written to disk once."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from gndpo import preemption, train
from gndpo.models.digits import build_model, build_processor
from gndpo.runfolder import read_rows

TINY = {"num_attention_heads": 2, "initializer_range": 0.2}


def build_checkpoint(folder: Path, seed: int, layers: int) -> Path:
    """A random InternVL in the true format."""
    torch.manual_seed(seed)
    processor = build_processor()
    size = {"hidden_size": 16, "num_hidden_layers": layers, "intermediate_size": 32, **TINY}
    model = build_model(
        processor.tokenizer, vision=size, text={**size, "num_key_value_heads": 2, "head_dim": 8}
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("pair")
    return {
        "student": build_checkpoint(root / "student", seed=0, layers=1),
        "teacher": build_checkpoint(root / "teacher", seed=1, layers=2),
    }


@dataclass(frozen=True)
class Finished:
    """What a command left: exit code, what it printed, its run folder."""

    code: int
    err: str
    folder: Path

    def rows(self, name: str = "metrics.jsonl") -> list[dict[str, Any]]:
        return list(read_rows(self.folder / name))

    @property
    def status(self) -> dict[str, Any]:
        return dict(json.loads((self.folder / "run.json").read_text()))


Run = Callable[..., Finished]


def exit_code(stop: SystemExit) -> int:
    """Of a command. A signal from outside (`timeout 300 pytest`) is the tests', though the run at
    work took it for its own: they end."""
    if stop.code == preemption.CODE:
        pytest.exit("a signal asked the tests to leave", preemption.CODE)
    return int(stop.code or 0)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """command(main, "a=1", ...) -> (exit code, stderr)."""

    def call(main: Callable[[], None], *arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", [main.__module__, *arguments])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = exit_code(stop)
        return code, capsys.readouterr().err

    return call


@pytest.fixture
def small(pair: dict[str, Path]) -> list[str]:
    """Overrides that make a run last a second."""
    return [
        "model=checkpoints",
        f"model.pair.student={pair['student']}",
        f"model.pair.teacher={pair['teacher']}",
        "logger=none",
        "steps=3",
        "prompts=4",
        "rollout.group=2",
        "rollout.max_tokens=6",
        "eval.validation=4",
        "eval.test=4",
        "eval.k=2",
        "eval.every=2",
        "diagnose.every=2",
        "schedule.warmup=1",
    ]


@pytest.fixture
def run(command: Any, small: list[str], tmp_path: Path) -> Run:
    """run("advantage=gndpo", name="a"): a training run in its own folder."""

    def start(*overrides: str, name: str = "run") -> Finished:
        folder = tmp_path / name
        code, err = command(train.main, *small, f"hydra.run.dir={folder}", *overrides)
        return Finished(code, err, folder)

    return start
