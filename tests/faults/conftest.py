"""Faults are injected into whole runs of tiny models; the run folder stays readable."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gndpo import train
from gndpo.report.load import read_run
from tests.runs.conftest import Finished, exit_code, pair, small

__all__ = ["pair", "small"]


@pytest.fixture
def run(
    small: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., Finished]:
    """run("advantage=gndpo"): a training run; `err` is all that it printed."""

    def start(*overrides: str) -> Finished:
        folder = tmp_path / "run"
        monkeypatch.setattr(sys, "argv", ["train", *small, f"hydra.run.dir={folder}", *overrides])
        capsys.readouterr()
        code = 0
        try:
            train.main()
        except SystemExit as stop:
            code = exit_code(stop)
        return Finished(code, "".join(capsys.readouterr()), folder)

    return start


@pytest.fixture
def injected(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """injected("Name", key=value): overrides that add a callback of `tests.faults.injected`."""
    monkeypatch.setenv("GNDPO_MODULES", "tests.")

    def overrides(name: str, **values: Any) -> list[str]:
        section = {"_target_": f"tests.faults.injected.{name}", **values}
        return [f"+callbacks.fault.{key}={value}" for key, value in section.items()]

    return overrides


@pytest.fixture
def readable() -> Callable[[Finished, int], None]:
    """readable(done, steps): gndpo-report reads the folder, a row for each of these steps."""

    def check(done: Finished, steps: int) -> None:
        found = read_run(done.folder)
        assert found.unreadable == 0
        assert [row["step"] for row in found.metrics] == [*range(1, steps + 1)]

    return check
