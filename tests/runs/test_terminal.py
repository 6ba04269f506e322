"""What a run says: a live line on a terminal, plain lines elsewhere."""

import os
import pty
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from gndpo import train
from gndpo.sweeps import PARALLEL
from gndpo.terminal import line

METRICS = {"reward/accuracy": 0.625, "grad/norm": 123.4, "time/tokens_per_s": 1234.5}
CONTROL = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
WIDTH = 100


def test_the_line_holds_the_numbers_that_matter() -> None:
    assert line(METRICS, 0.2125) == "accuracy 0.62  KL 0.212  grad 123  1,234 tokens/s"
    assert line(METRICS, None) == "accuracy 0.62  grad 123  1,234 tokens/s"


@contextmanager
def terminal() -> Iterator[list[bytes]]:
    """stderr is a terminal of WIDTH columns; what was written to it is there at the end."""
    reader, writer = pty.openpty()
    chunks: list[bytes] = []

    def collect() -> None:
        with suppress(OSError):  # the other end was closed
            while chunk := os.read(reader, 4096):
                chunks.append(chunk)

    thread = threading.Thread(target=collect, daemon=True)
    thread.start()
    with os.fdopen(writer, "w", buffering=1) as screen, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stderr", screen)
        patch.setenv("TERM", "xterm")
        patch.setenv("COLUMNS", str(WIDTH))
        for name in ("CI", PARALLEL, "NO_COLOR"):
            patch.delenv(name, raising=False)
        yield chunks
    thread.join()


def test_on_a_terminal_one_line_changes_in_place(
    small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["train", *small, f"hydra.run.dir={tmp_path}/run"])
    with terminal() as chunks:
        train.main()
    written = b"".join(chunks).decode()
    assert "\x1b[" in written
    lines = [CONTROL.sub("", part).strip() for part in re.split(r"[\r\n]+", written)]
    assert max(map(len, lines)) <= WIDTH
    last = next(text for text in reversed(lines) if "3/3" in text)
    for part in ("accuracy", "KL", "grad", "tokens/s", "0:00:00", "left"):
        assert part in last


@pytest.mark.parametrize("surroundings", [{}, {"FORCE_COLOR": "1"}, {"CI": "true"}])
def test_elsewhere_a_plain_line_every_few_steps(
    small: list[str],
    tmp_path: Path,
    surroundings: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in surroundings.items():
        monkeypatch.setenv(name, value)
    every = "callbacks.terminal.every=2"
    monkeypatch.setattr(sys, "argv", ["train", *small, every, f"hydra.run.dir={tmp_path}/run"])
    train.main()
    out, err = capsys.readouterr()
    assert "\x1b" not in out + err
    assert "\r" not in out + err
    steps = re.findall(r"^step (\d) of 3: accuracy .* KL .* grad .* tokens/s  .* left$", out, re.M)
    assert steps == ["2", "3"]


def test_a_job_beside_others_is_silent(
    small: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(PARALLEL, "1")
    monkeypatch.setattr(sys, "argv", ["train", *small, f"hydra.run.dir={tmp_path}/run"])
    train.main()
    assert capsys.readouterr() == ("", "")
