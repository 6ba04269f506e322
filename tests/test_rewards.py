"""Grading: the last box counts, numbers are numbers, and nothing that a model writes raises."""

import pytest

from gndpo.rewards import boxed_reward, last_boxed, same


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
    assert same(written, truth) is equal


@pytest.mark.parametrize(
    ("text", "total"),
    [
        ("<think> a </think> \\boxed{ 4 }", 1.0),
        ("\\boxed{ 4 }", 0.9),
        ("<think> a </think> \\boxed{ 5 }", 0.1),
        ("<think> a \\boxed{ 5 }", 0.0),
        ("", 0.0),
    ],
)
def test_accuracy_and_format_are_weighted_nine_to_one(text: str, total: float) -> None:
    assert boxed_reward(text, "4", format_weight=0.1).total == pytest.approx(total)
