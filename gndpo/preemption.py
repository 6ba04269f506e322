"""A cluster says with SIGTERM or SIGUSR1 that it will take the machine away: the step at work is
finished, a checkpoint written, and the process ends with a code of its own."""

import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from lightning import Callback, LightningModule, Trainer

from gndpo import ranks
from gndpo.sweeps import PARALLEL

CODE = 75
"""The exit code: EX_TEMPFAIL of sysexits.h, try again later."""

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class Preempted(SystemExit):
    """Ends the process with CODE. No Exception: a sweep does not go on with its next job."""

    def __init__(self) -> None:
        super().__init__(CODE)


@dataclass
class Notice:
    """given: by a signal. waits: until what goes on is finished; else it ends that at once."""

    given: bool = False
    waits: bool = True

    def heed(self) -> None:
        if self.given and not self.waits:
            raise Preempted


NOTICE = Notice()
"""Of this process: signals know no other."""


def beside_others() -> bool:
    """Whether this process works for a sweep that another one launched."""
    return PARALLEL in os.environ and not launches()


def launches() -> bool:
    """Whether this process launched a sweep whose jobs run side by side."""
    return os.environ.get(PARALLEL) == str(os.getpid())


def listen() -> None:
    for number in SIGNALS:
        signal.signal(number, receive)


def receive(number: int, frame: FrameType | None) -> None:
    """Jobs of a sweep and ranks may hear of it twice. To the process that was started, a second
    signal means: now."""
    if NOTICE.given and not beside_others() and "RANK" not in os.environ:
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)
    NOTICE.given = True
    for job in multiprocessing.active_children() if launches() else ():
        job.terminate()
    NOTICE.heed()


@contextmanager
def listening() -> Iterator[None]:
    """Of a command as a whole: a notice that came between two jobs ends it after what is inside."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    NOTICE.given, NOTICE.waits = False, True
    listen()
    try:
        yield
        NOTICE.waits = False
        NOTICE.heed()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def heeding() -> Iterator[None]:
    """Of a job: a notice ends the process. One that submitit started goes back into the queue: that
    is what its handler of SIGUSR2 does, and then exits. A job beside others returns, or its end
    would be theirs."""
    queue = signal.getsignal(signal.SIGUSR2)
    listen()
    if callable(queue):
        signal.signal(signal.SIGUSR2, receive)
    try:
        yield
    except Preempted:
        if callable(queue):
            queue(signal.SIGUSR2, None)
        if not beside_others():
            raise


@contextmanager
def waiting(waits: bool) -> Iterator[None]:
    """Whether a notice waits for the end of what is inside."""
    before, NOTICE.waits = NOTICE.waits, waits
    try:
        NOTICE.heed()
        yield
    finally:
        NOTICE.waits = before
    NOTICE.heed()


class Preemption(Callback):
    """A step and its rows are finished first. Ranks leave together, between two steps."""

    def on_fit_start(self, trainer: Trainer, module: LightningModule) -> None:
        NOTICE.waits = ranks.size() > 1

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Lightning has put handlers of its own before ours."""
        listen()

    def on_train_batch_start(
        self, trainer: Trainer, module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self.heed()
        NOTICE.waits = True

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.heed()

    def heed(self) -> None:
        """A notice to one rank is one to all."""
        if ranks.largest(float(NOTICE.given)) > 0:
            NOTICE.given = True
        NOTICE.waits = False
        NOTICE.heed()
        NOTICE.waits = ranks.size() > 1
