"""Graders that sleep, are killed or cannot be started."""

import signal
import sys
import time

import pytest

from gndpo.errors import UserError
from gndpo.grading import pool
from gndpo.grading.graders import Work, equivalent
from gndpo.grading.pool import CLOCK, Workers

GOOD = Work(equivalent, ("1+x", "x+1"))


def test_work_that_sleeps_is_ended_by_the_clock(caplog: pytest.LogCaptureFixture) -> None:
    """It uses no processor time, of which it has 0.05 s. The next answer has another process."""
    workers = Workers(1, 0.05)
    asleep = Work(time.sleep, (3600,))  # type: ignore[arg-type]
    assert workers.run([asleep]) == {asleep: None}
    assert f"waited for longer than {CLOCK} times reward.timeout=0.05 s" in caplog.text
    workers.timeout = workers.idle.queue[0].timeout = 5.0
    assert workers.run([GOOD]) == {GOOD: 1}


def test_a_worker_that_is_killed_while_it_works_counts_as_a_timeout(
    caplog: pytest.LogCaptureFixture,
) -> None:
    workers = Workers(1, 5.0)
    own = Work(signal.raise_signal, (signal.SIGKILL,))  # type: ignore[arg-type]
    assert workers.run([own, GOOD]) == {own: None, GOOD: 1}
    assert "ended its grader with status -9" in caplog.text


def test_a_worker_that_cannot_be_started_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not an answer that counts as wrong, again and again. The pool is whole afterwards."""
    workers = Workers(1, 5.0)
    with monkeypatch.context() as patch:
        patch.setattr(pool, "COMMAND", (sys.executable, "-c", "raise SystemExit(3)"))
        for _ in range(2):
            with pytest.raises(UserError, match=r"cannot be started \(status 3\); type"):
                workers.run([GOOD])
    assert workers.run([GOOD]) == {GOOD: 1}
