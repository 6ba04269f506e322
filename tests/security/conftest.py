"""The commands of tests/runs, here with strangers' files; all that they say counts."""

import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.runs.conftest import exit_code, pair, run, small

__all__ = ["pair", "run", "small"]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """command(main, "a=1", ...) -> (exit code, both its outputs)."""

    def call(main: Callable[[], None], *arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", [main.__module__, *arguments])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = exit_code(stop)
        return code, "".join(capsys.readouterr())

    return call
