"""Runs that are stopped, and what they leave."""

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gndpo.runfolder import RunFolder, read_rows
from tests.runs.conftest import Finished, pair, run, small

__all__ = ["pair", "run", "small"]

CARRY = "advantage=gndpo_ladder/clamp_whiten_running"
GATE = "advantage=trust_region"
"""Strategies that a wrong continuation would change: one hands statistics from step to step, one
draws."""


def left(folder: Path) -> dict[str, Any]:
    """What a run left: its rows without times, and the files of its last checkpoint."""
    names = ("metrics.jsonl", "samples.jsonl", "eval.jsonl")
    rows = {name: [timeless(row) for row in read_rows(folder / name)] for name in names}
    last = max((folder / "checkpoints").glob("step-*"))
    return rows | {f"{last.name}/{file.name}": file.read_bytes() for file in last.iterdir()}


def timeless(row: dict[str, Any]) -> dict[str, Any]:
    return {key: x for key, x in row.items() if not key.startswith("time/")}


def steps_of(done: Finished) -> list[int]:
    return [row["step"] for row in done.rows()]


def saved(folder: Path) -> list[int]:
    return sorted(int(path.name.partition("-")[2]) for path in folder.glob("checkpoints/step-*"))


def pretend_killed(folder: Path) -> None:
    """run.json as a run leaves it that could not write how it ended."""
    file = folder / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"status": "running"}))


def at_call(function: Callable[..., Any], number: int, act: Callable[[], None]) -> Any:
    """The function; before its call of this number (from 1) something else happens."""
    calls = iter(range(1, 1000))

    def instead(*arguments: Any, **options: Any) -> Any:
        if next(calls) == number:
            act()
        return function(*arguments, **options)

    return instead


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """command(main, "a=1", ...) -> (exit code, all that it printed)."""

    def call(main: Callable[[], None], *arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", [main.__module__, *arguments])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1  # a sentence
            print(stop.code)
        return code, "".join(capsys.readouterr())

    return call


@contextmanager
def elsewhere(folder: Path) -> Iterator[int]:
    """Another process holds the lock of the folder; its id."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        with RunFolder(folder).alone():
            os.write(writer, b".")
            signal.pause()
    os.read(reader, 1)
    try:
        yield child
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reader)
        os.close(writer)


@pytest.fixture
def signalled(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """signalled(Distillation, "roll", call=2): a signal comes at that call."""

    def arrange(owner: Any, name: str, *, call: int, number: int = signal.SIGTERM) -> None:
        send = at_call(getattr(owner, name), call, lambda: signal.raise_signal(number))
        monkeypatch.setattr(owner, name, send)

    return arrange
