"""Nothing that a model writes raises; what hangs is ended, in processes that leave with their
parent."""

import os
import signal
import subprocess
import sys
from functools import partial

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gndpo.grading.graders import (
    Grader,
    Work,
    auto,
    equivalent,
    exact,
    matches,
    mathematics,
    multiple_choice,
    numeric,
    pattern,
    think_boxed,
)
from gndpo.grading.pool import Workers, workers
from tests.grading.test_graders import CHOICES
from tests.test_rewards import row

PIECES = ["\\boxed{", "}", "{", "\\frac", "\\text{", "answer is", "</think>", "(B)", "\0", "\ud800"]
PIECES += ["9" * 500, "^", "\\", "$", "=", "%", "1/0", "e9999", "∞", "\n", " ", "A", ",", "nan"]
GRADERS: list[tuple[Grader, str]] = [
    (partial(grader, read=read), truth)
    for read in ("boxed", "any")
    for grader, truth in [
        (mathematics, "x+1"),
        (multiple_choice, "B"),
        (auto, "B"),
        (exact, "word"),
        (partial(numeric, relative=0.01, absolute=0.0), "12"),
    ]
] + [(think_boxed, ""), (partial(pattern, regex="<think>.*"), "")]


@given(st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=5))).map("".join))
@example("\\boxed{" * 100_000)
@example("\\boxed{" + "{" * 500_000 + "}" * 500_001)
@example("answer" + " " * 1_000_000)
@example("A" + " " * 1_000_000 + "!")
@example("</think>\\boxed{" * 50_000)
@example("<think>" + "</think>\\boxed{" * 50_000)
@example("1," * 500_000)
@example("\\text{" * 100_000)
def test_nothing_that_a_model_writes_raises_or_takes_long(text: str) -> None:
    for grader, truth in GRADERS:
        found = grader(text, row(truth, CHOICES if truth == "B" else None))
        assert isinstance(found, Work) or found in (0, 1)


HOSTILE = [
    "\\frac{" * 42,
    "{" * 120 + "}" * 120,
    "\\sqrt" * 50,
    "((((" * 60,
    "\0",
    "\ud800",
    "\\begin{matrix}" * 15,
    "1" + "!" * 200,
    "\\int" * 60,
    "nan",
    "x" * 256,
]
HANGS = "9^{9^{9^{9}}}"


@pytest.fixture(scope="module")
def pool() -> Workers:
    return workers(1, 0.5)


def test_hostile_answers_are_wrong_and_hanging_ones_are_ended(
    pool: Workers, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker that was ended is replaced, and the next answers are graded."""
    good = Work(equivalent, ("1+x", "x+1"))
    towers = [Work(equivalent, (f"{n}{HANGS}", "x+1")) for n in (2, 3)]
    catastrophe = Work(matches, ("a" * 64 + "b", "(a+)+"))
    found = pool.run([good, *towers, catastrophe, good, Work(equivalent, ("x+2", "x+1"))])
    assert [found[work] for work in towers] == [None, None]
    assert found[catastrophe] is None
    assert list(found.values())[-1] == 0
    assert found[good] == 1
    lines = [r.message for r in caplog.records if "reward.timeout=0.5 s" in r.message]
    assert len(lines) == 1  # said once
    for text in HOSTILE:
        assert pool.run([Work(equivalent, (text, "x+1"))]).popitem()[1] in (0, None)
    assert pool.run([good]) == {good: 1}


def test_equal_work_is_done_once(pool: Workers) -> None:
    assert len(pool.run([Work(equivalent, ("1+x", "x+1"))] * 3)) == 1
    assert pool.run([]) == {}


def test_a_worker_that_was_killed_is_replaced(pool: Workers) -> None:
    good = Work(equivalent, ("1+x", "x+1"))
    pool.run([good])
    process = pool.idle.queue[0].process
    assert process is not None
    process.kill()
    process.wait()
    assert pool.run([good]) == {good: 1}
    assert workers(1, 0.5) is pool


def test_work_that_ends_its_process_counts_as_wrong(
    pool: Workers, caplog: pytest.LogCaptureFixture
) -> None:
    work = Work(os._exit, (3,))  # type: ignore[arg-type]
    assert pool.run([work]) == {work: None}
    assert "ended its grader with status 3" in caplog.text


def test_workers_import_no_torch_and_leave_with_their_parent() -> None:
    """The parent is killed while its worker hangs: the worker's standard error, which both share,
    is closed only when both are gone."""
    script = (
        "import pickle, sys, time\n"
        "from gndpo.grading.graders import Work, equivalent\n"
        "from gndpo.grading.pool import Workers\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules\n"
        "pool = Workers(1, 0.5)\n"
        "pool.run([Work(equivalent, ('1+x', 'x+1'))])\n"
        "process = pool.idle.queue[0].process\n"
        "torch = 'torch' in open(f'/proc/{process.pid}/maps').read()\n"
        f"pickle.dump((equivalent, ('{HANGS}', 'x+1')), process.stdin)\n"
        "process.stdin.flush()\n"
        "print(torch, flush=True)\n"
        "sys.stdin.read()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    assert parent.stderr is not None
    assert parent.stdout.readline() == "False\n"
    parent.send_signal(signal.SIGKILL)
    assert parent.stderr.read() == ""  # ends when the last of the two has closed it
    parent.communicate()
