"""Graders: what is read as an answer, and what counts as equal."""

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gndpo.errors import UserError
from gndpo.grading.extraction import final_answer, last_boxed
from gndpo.grading.graders import (
    Work,
    auto,
    by_kind,
    exact,
    matches,
    multiple_choice,
    number,
    numeric,
    pattern,
    rounded,
    same,
    think_boxed,
)
from tests.test_rewards import row

CHOICES = ["30 degrees", "a dog", "$45^\\circ$", "\\frac{1}{2}"]


def verdict(found: float | Work) -> float:
    """In this process: for what cannot hang."""
    return float(found.function(*found.arguments)) if isinstance(found, Work) else found


@pytest.mark.parametrize(
    ("text", "boxed"),
    [
        ("<think> 1 </think> \\boxed{ 19 }", "19"),
        ("\\boxed{1} then \\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
        ("no box", None),
        ("\\boxed{ 1 { 2 }", None),
        ("\\boxed", None),
        ("\\boxed{}", ""),
    ],
)
def test_the_last_box(text: str, boxed: str | None) -> None:
    assert last_boxed(text) == boxed


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("<think> 5 </think> \\boxed{19} or 7", "19"),
        ("<reason> answer is 5 </reason> 7 cm", "7 cm"),
        ("<think> 5 </think> So the answer is 12.5. Done.", "12.5"),
        ("**Answer:** B\nbecause", "B"),
        ("The answer is 3, no: the answer is: 4", "4"),
        ("<think> x </think><answer> 8 </answer>", "8"),
        ("42", "42"),
        ("", ""),
    ],
)
def test_where_an_answer_stands_without_a_box(text: str, found: str) -> None:
    assert final_answer(text, "any") == found
    assert final_answer(text, "boxed") == (found if "boxed" in text else None)


@pytest.mark.parametrize(
    ("written", "truth", "equal"),
    [
        ("19", "19", True),
        (" - 3 ", "-3", True),
        ("19.0", "19", True),
        ("18", "19", False),
        ("\\frac{1}{2}", "0.5", True),
        ("x+1", "1+x", True),
        ("x+2", "1+x", False),
        ("", "19", False),
        ("}{\\", "19", False),
        ("9" * 10_000, "x", False),
    ],
)
def test_equality(written: str, truth: str, equal: bool) -> None:
    assert verdict(same(written, truth)) == equal


@pytest.mark.parametrize(
    "text",
    [
        "\\boxed{C}",
        "\\boxed{\\text{C}}",
        "\\boxed{c}",
        "(C)",
        "C.",
        "C. $45^\\circ$",
        "Answer: C",
        "**Answer: C**",
        "The answer is (C) 45 degrees",
        "C) it is half a right angle\n\nas drawn.",
        "It cannot be option B, so option C",
        "the correct option is C",
        "\\boxed{45°}",
        "\\boxed{45^{\\circ}}",
    ],
)
def test_a_letter_and_its_option_are_the_same_answer(text: str) -> None:
    assert verdict(multiple_choice(text, row("C", CHOICES), read="any")) == 1
    assert verdict(auto(text, row("C", CHOICES), read="any")) == 1
    assert verdict(multiple_choice(text, row("A", CHOICES), read="any")) == 0


@pytest.mark.parametrize(
    ("text", "truth", "right"),
    [
        ("\\boxed{A dog.}", "B", True),  # an option's text, not the letter A
        ("\\boxed{a god}", "B", False),  # no mathematics with words
        ("\\boxed{0.5}", "D", True),  # an option's value
        ("\\boxed{E}", "B", False),  # beyond the options
        ("\\boxed{}", "A", False),
        ("\\boxed{A, C}", "AC", True),
        ("\\boxed{C and A}", "A, C", True),
        ("\\boxed{AC}", "A, C", True),
        ("\\boxed{A}", "A, C", False),
        ("\\boxed{A, C}", "A", False),
        ("none", "A", False),
    ],
)
def test_options(text: str, truth: str, right: bool) -> None:
    assert verdict(multiple_choice(text, row(truth, CHOICES), read="boxed")) == right


def test_without_choices_auto_is_mathematics() -> None:
    assert verdict(auto("\\boxed{1+x}", row("x+1"), read="boxed")) == 1
    assert verdict(auto("\\boxed{A}", row("A"), read="boxed")) == 1


@pytest.mark.parametrize(
    ("text", "value", "percent"),
    [
        ("1,234.5", 1234.5, False),
        ("1{,}234", 1234, False),
        ("-3/4", -0.75, False),
        ("\\dfrac{3}{4}", 0.75, False),
        ("−2", -2, False),
        ("1e3", 1000, False),
        (".5", 0.5, False),
        ("$5.00 per cow", 5, False),
        ("x_2 = 12 cm^2", 12, False),
        ("12.5\\%", 12.5, True),
    ],
)
def test_numbers(text: str, value: float, percent: bool) -> None:
    assert number(text) == (value, percent)


@pytest.mark.parametrize("text", ["", "none", "1/0", "-", "."])
def test_no_numbers(text: str) -> None:
    assert number(text) is None


@pytest.mark.parametrize(
    ("written", "truth", "right"),
    [
        ("101", "100", True),
        ("101.1", "100", False),
        ("-1", "1", False),
        ("12.5%", "12.5%", True),
        ("12.5%", "0.125", True),
        ("0.125", "12.5%", True),
        ("12.5", "12.5%", False),
        ("0.01", "0", True),  # the absolute tolerance
        ("1e999", "100", False),
        ("none", "100", False),
    ],
)
def test_a_tolerance_and_percentages(written: str, truth: str, right: bool) -> None:
    text = f"\\boxed{{{written}}}"
    found = numeric(text, row(truth), read="boxed", relative=0.01, absolute=0.01)
    assert found == right


def test_exact_words() -> None:
    assert exact("\\boxed{\\text{ New  York. }}", row("new york"), read="boxed") == 1
    assert exact("\\boxed{York}", row("new york"), read="boxed") == 0
    assert exact("New York", row("new york"), read="boxed") == 0


def test_a_pattern_is_for_the_whole_text() -> None:
    work = pattern("<a>\n</a>", row(""), regex="<a>.*</a>")
    assert work == Work(matches, ("<a>\n</a>", "<a>.*</a>"))
    assert verdict(work) == 1
    assert verdict(pattern("<a></a> more", row(""), regex="<a>.*</a>")) == 0


@given(st.lists(st.sampled_from(["<think>", "</think>", "\\boxed{", "}", " ", "x\n"])))
def test_the_format_is_the_papers_pattern(words: list[str]) -> None:
    text = "".join(words)
    regex = r"\s*<think>.*</think>.*\\boxed\{.*\}.*"
    assert think_boxed(text, row("")) == matches(text, regex)


def test_answers_in_the_data_that_a_grader_cannot_use_are_named() -> None:
    with pytest.raises(UserError, match="row test/7: the answer 'abc' is no number"):
        numeric("1", row("abc"), read="any", relative=0, absolute=0)
    with pytest.raises(UserError, match="row test/7: the answer '12' is no letter of an option"):
        multiple_choice("A", row("12", CHOICES), read="any")


@pytest.mark.parametrize(
    ("written", "truth", "right"),
    [
        ("1.249", "1.2", True),
        ("1.26", "1.2", False),
        ("1.20", "1.2", True),
        ("3.4", "3", True),
        ("3.6", "3", False),
        ("none", "3", False),
    ],
)
def test_rounded_to_the_decimals_of_the_truth(written: str, truth: str, right: bool) -> None:
    assert rounded(f"\\boxed{{{written}}}", row(truth), read="boxed") == right


def test_a_grader_per_kind() -> None:
    graders = {
        "choices": partial(multiple_choice, read="any"),
        "": partial(exact, read="any"),
    }
    assert by_kind("\\boxed{B}", row("B", CHOICES), graders=graders) == 1
    assert by_kind("\\boxed{yes}", row("Yes"), graders=graders) == 1
    with pytest.raises(UserError, match="row test/7: there is no grader for '', only for choices;"):
        by_kind("", row("Yes"), graders={"choices": graders["choices"]})
