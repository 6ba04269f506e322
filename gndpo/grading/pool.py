"""Processes that do what may hang: symbolic mathematics and regular expressions.

Not multiprocessing, nor a pool built on it: its spawned and fork-server children run the parent's
script again, and every one would import torch. These import `gndpo.grading.worker` alone. The
kernel ends a worker that exceeds its time, even inside one endless call of C code; a worker whose
parent died reads the end of its input and leaves.
"""

import logging
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from queue import LifoQueue

from gndpo.grading.graders import Work

log = logging.getLogger(__name__)

COMMAND = (sys.executable, "-P", "-m", "gndpo.grading.worker")


class Worker:
    """A process that is started when it is first needed, and again after it was ended."""

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> subprocess.Popen[bytes]:
        paths = {"PYTHONPATH": os.pathsep.join(sys.path)}
        return subprocess.Popen(
            [*COMMAND, str(self.timeout)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | paths,
        )

    def ask(self, work: Work) -> bool | int:
        """Its truth value, or the exit status of the process that it ended."""
        if self.process is None or self.process.poll() is not None:
            self.process = self.start()
        process = self.process
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            pickle.dump(tuple(work), process.stdin)
            process.stdin.flush()
        except BrokenPipeError:  # ended before it had read all
            return process.wait()
        line = process.stdout.readline()
        return line == b"True\n" if line else process.wait()


class Workers:
    """At most `count` processes, each answer limited to `timeout` seconds of its processor."""

    def __init__(self, count: int, timeout: float) -> None:
        self.count, self.timeout = count, timeout
        self.idle: LifoQueue[Worker] = LifoQueue()  # the last one used first: few are started
        for _ in range(count):
            self.idle.put(Worker(timeout))
        self.logged: set[int] = set()

    def run(self, works: Iterable[Work]) -> dict[Work, float | None]:
        """Every distinct work's truth, 0 or 1; None where it ended its process."""
        distinct = list(dict.fromkeys(works))
        if not distinct:
            return {}
        with ThreadPoolExecutor(self.count) as threads:
            return dict(zip(distinct, threads.map(self.one, distinct), strict=True))

    def one(self, work: Work) -> float | None:
        worker = self.idle.get()
        found = worker.ask(work)
        self.idle.put(worker)
        if isinstance(found, bool):
            return float(found)
        self.tell(found)
        return None

    def tell(self, status: int) -> None:
        """Once for every way to end."""
        if status not in self.logged:
            self.logged.add(status)
            why = (
                f"took longer than reward.timeout={self.timeout:g} s"
                if status == -signal.SIGPROF
                else f"ended its grader with status {status}"
            )
            log.warning("an answer %s and counts as wrong; reward/timeouts counts them", why)


@cache
def workers(count: int, timeout: float) -> Workers:
    """One set for all rewards of this process, also those of a sweep's later jobs."""
    return Workers(count, timeout)
