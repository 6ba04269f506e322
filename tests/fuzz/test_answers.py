"""Whatever a model writes, every grader gives a number in its time, and no process dies of it."""

from functools import partial
from typing import Any

import pytest
from hypothesis import strategies as st

from gndpo.data.rows import Row
from gndpo.grading.extraction import final_answer, last_boxed, letters_of
from gndpo.grading.graders import (
    Work,
    auto,
    exact,
    mathematics,
    multiple_choice,
    number,
    numeric,
    pattern,
    rounded,
    think_boxed,
)
from gndpo.rewards import composite
from tests.fuzz.conftest import Fuzz, sentence_or

MANY = 10**5
BOMBS = (
    "\\boxed{" * MANY,
    "{" * MANY,
    "\\boxed{" + "{" * MANY + "}" * MANY + "}",
    "\\frac{" * 300 + "1" + "}{2}" * 300,
    "\\sqrt{" * 200 + "2" + "}" * 200,
    "(" * 5000 + "1" + ")" * 5000,
    "9**9**9**9",
    "9^{9^{9^{9}}}",
    "10^{10^{10}}!",
    "\\binom{10^9}{5*10^8}",
    "\\sum_{i=1}^{10^{9}} i^i",
    "\\int_0^1 x^{x^{x^x}} dx",
    "factorial(10**9)",
    "\\begin{pmatrix}" + "1&2\\\\" * 99 + "\\end{pmatrix}",
    "x=" * MANY,
    "-" * MANY,
    "1," * MANY,
    "1" * MANY,
    "0." + "0" * 5000 + "1",
    "1e99999",
    "1e400/1e400",
    "1/0",
    "٣٫١٤",
    "²³",
    "①",
    "１２",
    "‮21‬",
    "a\x00b",
    "\ud800",
    "\\" * MANY,
    "$" * MANY,
    "answer is " * 10**5,
    "The answer: " + " " * MANY + "x",
    "<think>" * 9999 + "</think>" * 9999,
    "\\text{" * MANY,
    "A" * 2**20,
    "A, " * MANY,
    "A and " * MANY,
    "option " * MANY,
    "(A" * MANY,
    "\n" * MANY + "B",
    "a" * 30 + "!",
    "[1,2),(3,\\infty)",
    "nan",
    "inf",
    "-inf",
    "1_000",
    "\\infty",
    "x\\in\\{1,2\\}",
)
PIECES = st.one_of(
    st.sampled_from(BOMBS),
    st.sampled_from(
        ["\\boxed{", "}", "{", "$", "\\frac{1}{2}", "3/4", "50\\%", "^", "_", "=", "A"]
    ),
    st.sampled_from(["answer is", "</think>", "<answer>", "B.", "\n", " ", "7", "-", "\\text{cm}"]),
    st.text(max_size=6),
)
ANSWERS = st.one_of(
    st.lists(PIECES, max_size=8).map("".join),
    PIECES.map(lambda inside: f"\\boxed{{{inside}}}"),
    st.tuples(PIECES, st.integers(1, 10**6)).map(
        lambda x: x[0] * min(x[1], 2**20 // (len(x[0]) + 1))
    ),
)
TRUTHS = st.one_of(
    st.sampled_from(["7", "0.5", "\\frac{1}{2}", "B", "1e400", "x^2+1", "50%", "(1,2)"]),
    st.sampled_from(["9^{9^{9^{9}}}", "", "\ud800", "٣", "²", "nan", "9" * 5000]),
    st.text(max_size=8),
)
CHOICES = st.one_of(
    st.just([]),
    st.just(["1", "2", "3", "4"]),
    st.lists(st.one_of(st.sampled_from(BOMBS), st.text(max_size=5)), max_size=5),
)
GRADERS: dict[str, Any] = {
    "mathematics": partial(mathematics, read="any"),
    "boxed": partial(mathematics, read="boxed"),
    "multiple_choice": partial(multiple_choice, read="any"),
    "auto": partial(auto, read="any"),
    "exact": partial(exact, read="any"),
    "numeric": partial(numeric, read="any", relative=0.01, absolute=1e-3),
    "rounded": partial(rounded, read="any"),
    "pattern": partial(pattern, regex="(a+)+"),
    "think": think_boxed,
}


def row(truth: str, choices: list[str]) -> Row:
    return Row(
        name="x/test/3", images=[], problem="", answer=truth, choices=choices, solution="",
        kind="", fields={},
    )  # fmt: skip


def test_no_answer_makes_a_grader_raise(fuzz: Fuzz) -> None:
    """Only a row whose right answer does not fit the grader does, with a sentence that names it."""

    def holds(case: tuple[str, str, list[str]]) -> None:
        text, truth, choices = case
        for name, grader in GRADERS.items():
            verdict = sentence_or(grader, text, row(truth, choices))
            if isinstance(verdict, str):
                assert verdict.startswith("row x/test/3: the answer ")
                assert name not in ("mathematics", "boxed", "exact", "pattern", "think")
            else:
                assert isinstance(verdict, Work) or verdict in (0.0, 1.0)

    fuzz(st.tuples(ANSWERS, TRUTHS, CHOICES), holds)


def test_answers_are_found_or_not(fuzz: Fuzz) -> None:
    def holds(text: str) -> None:
        boxed, said, found = last_boxed(text), final_answer(text, "any"), number(text)
        assert boxed is None or boxed in text
        assert said is not None
        assert found is None or isinstance(found.value, float)
        assert all("A" <= letter <= "Z" for letter in letters_of(text, 26))

    fuzz(ANSWERS, holds)


@pytest.fixture(scope="module")
def judge() -> Any:
    accuracy = partial(mathematics, read="any")
    parts = {"accuracy": accuracy, "words": partial(pattern, regex="(a|aa)+b")}
    return composite(weights={"accuracy": 1.0, "words": 0.0}, parts=parts, workers=1, timeout=0.5)


@pytest.mark.parametrize("truth", ["7", "x^2+1", "9^{9^{9^{9}}}"])
def test_bombs_cost_their_time_and_nothing_else(judge: Any, truth: str) -> None:
    """All of them in one batch, then an easy answer: the workers are alive, or started again."""
    texts = [f"\\boxed{{{bomb}}}" for bomb in BOMBS if "{" * 9 not in bomb] + [*BOMBS]
    rewards = judge(texts, [row(truth, [])] * len(texts))
    assert all(reward.total in (0.0, 1.0) for reward in rewards)
    again = judge(["\\boxed{\\frac{2}{4}}", "7"], [row("\\frac{1}{2}", []), row("8", [])])
    assert [reward.correct for reward in again] == [1.0, 0.0]


@pytest.mark.slow
def test_answers_are_graded_in_time(judge: Any, fuzz: Fuzz) -> None:
    def holds(case: tuple[str, str]) -> None:
        text, truth = case
        (reward,) = judge([text], [row(truth, [])])
        assert reward.total in (0.0, 1.0)

    short = st.lists(st.one_of(PIECES.filter(lambda x: len(x) < 200)), max_size=5).map("".join)
    fuzz(st.tuples(short, TRUTHS), holds)
