"""Processes that do what may hang: symbolic mathematics and regular expressions.

Not multiprocessing, nor a pool built on it: its spawned and fork-server children run the parent's
script again, and every one would import torch. These import `gndpo.grading.worker` alone. The
kernel ends a worker that exceeds its time, even inside one endless call of C code; a worker whose
parent died reads the end of its input and leaves.
"""

import logging
import os
import pickle
import select
import signal
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from queue import LifoQueue

from gndpo.errors import UserError
from gndpo.grading.graders import Work

log = logging.getLogger(__name__)

COMMAND = (sys.executable, "-P", "-m", "gndpo.grading.worker")
FIRST = Work(bool, (True,))
"""What a new worker is asked; it answers when it is ready."""
START = 300.0
"""Seconds in which a worker must be ready, on a busy machine."""
CLOCK = 20
"""Times its processor's seconds that an answer may take on the clock: a worker that sleeps or waits
uses no processor."""


class Worker:
    """A process that is started when it is first needed, and again after it was ended."""

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> subprocess.Popen[bytes]:
        paths = {"PYTHONPATH": os.pathsep.join(sys.path)}
        command = [*COMMAND, str(self.timeout)]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ | paths
        )
        if not told(process, FIRST) or line(process, START) != b"True\n":
            raise UserError(
                f"a process that grades answers cannot be started (status {ended(process)}); type "
                f"{' '.join(command)} to see why"
            )
        return process

    def ask(self, work: Work) -> bool | str:
        """Its truth value, or why there is none."""
        if self.process is None or self.process.poll() is not None:
            self.process = self.start()
        process = self.process
        if not told(process, work):
            return self.reason(process.wait())
        found = line(process, CLOCK * self.timeout)
        if found is None:
            ended(process)
            return f"waited for longer than {CLOCK} times reward.timeout={self.timeout:g} s"
        return found == b"True\n" if found else self.reason(process.wait())

    def reason(self, status: int) -> str:
        if status == -signal.SIGPROF:
            return f"took longer than reward.timeout={self.timeout:g} s"
        return f"ended its grader with status {status}"


def told(process: subprocess.Popen[bytes], work: Work) -> bool:
    """Whether a worker took its work; not, where it ended before."""
    assert process.stdin is not None
    try:
        pickle.dump(tuple(work), process.stdin)
        process.stdin.flush()
    except BrokenPipeError:
        return False
    return True


def line(process: subprocess.Popen[bytes], seconds: float) -> bytes | None:
    """What a worker says next; b"" where it ended, None where it says nothing in time."""
    assert process.stdout is not None
    there, _, _ = select.select([process.stdout], [], [], seconds)
    return process.stdout.readline() if there else None


def ended(process: subprocess.Popen[bytes]) -> int:
    process.kill()
    return process.wait()


class Workers:
    """At most `count` processes, each answer limited to `timeout` seconds of its processor."""

    def __init__(self, count: int, timeout: float) -> None:
        self.count, self.timeout = count, timeout
        self.idle: LifoQueue[Worker] = LifoQueue()  # the last one used first: few are started
        for _ in range(count):
            self.idle.put(Worker(timeout))
        self.logged: set[str] = set()

    def run(self, works: Iterable[Work]) -> dict[Work, float | None]:
        """Every distinct work's truth, 0 or 1; None where it ended its process."""
        distinct = list(dict.fromkeys(works))
        if not distinct:
            return {}
        with ThreadPoolExecutor(self.count) as threads:
            return dict(zip(distinct, threads.map(self.one, distinct), strict=True))

    def one(self, work: Work) -> float | None:
        worker = self.idle.get()
        try:
            found = worker.ask(work)
        finally:
            self.idle.put(worker)
        if isinstance(found, bool):
            return float(found)
        self.tell(found)
        return None

    def tell(self, why: str) -> None:
        """Once for every way to end."""
        if why not in self.logged:
            self.logged.add(why)
            log.warning("an answer %s and counts as wrong; reward/timeouts counts them", why)


@cache
def workers(count: int, timeout: float) -> Workers:
    """One set for all rewards of this process, also those of a sweep's later jobs."""
    return Workers(count, timeout)
