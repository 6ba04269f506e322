"""A worker's side of the protocol: one line in, "step", one line of JSON out, what it took."""

import json
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO


def reserved_output() -> TextIO:
    """The process's standard output, for answers alone: whatever else is printed from now on goes
    to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return answers


class Meter:
    """Wall and processor seconds of a step, seconds of its phases, and the most memory so far."""

    def __init__(self, answers: TextIO) -> None:
        self.answers = answers
        self.laps: dict[str, float] = {}

    def ready(self) -> None:
        """Everything is loaded: say so, then wait for the first step."""
        forget_peak()
        self.say(rss=resident("VmRSS"))
        self.wait()

    def wait(self) -> None:
        """Until the next step is asked for; without one the process ends."""
        if sys.stdin.readline() != "step\n":
            sys.exit()
        self.start()

    def start(self) -> None:
        self.laps = {}
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def done(self, **more: float) -> None:
        """The step is over. more: seconds of its phases, and what else is known."""
        cpu = time.process_time() - self.cpu
        self.say(seconds=self.seconds, cpu=cpu, peak=resident("VmHWM"), **self.laps, **more)

    @property
    def seconds(self) -> float:
        """Since the step began."""
        return time.perf_counter() - self.wall

    @contextmanager
    def lap(self, name: str) -> Iterator[None]:
        """Add what happens inside to a phase."""
        start = time.perf_counter()
        yield
        self.laps[name] = self.laps.get(name, 0.0) + time.perf_counter() - start

    def say(self, **values: Any) -> None:
        self.answers.write(json.dumps(values) + "\n")
        self.answers.flush()


def forget_peak() -> None:
    """The most memory is counted anew from here."""
    Path("/proc/self/clear_refs").write_text("5")


def resident(field: str) -> int:
    """Bytes of this process in memory, now (VmRSS) or at most (VmHWM, since last cleared)."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return 1024 * int(found[1])
