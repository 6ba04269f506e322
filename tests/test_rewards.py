"""Rewards: weighted parts, the digits' numbers, every option of the group."""

from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
from hydra import compose, initialize_config_dir

from gndpo.build import build, config_folder
from gndpo.data.rows import Row
from gndpo.errors import UserError
from gndpo.grading.graders import mathematics, think_boxed
from gndpo.rewards import Grade, boxed_reward, composite

OPTIONS = sorted(file.stem for file in (Path(config_folder()) / "reward").glob("*.yaml"))
KNOBS: dict[str, Any] = {"workers": 1, "timeout": 5.0}


def row(answer: str, choices: list[str] | None = None) -> Row:
    return {
        "name": "test/7",
        "images": [],
        "problem": "",
        "answer": answer,
        "choices": choices or [],
        "solution": "",
        "kind": "",
        "fields": {},
    }


def option(name: str, *overrides: str) -> Grade:
    with initialize_config_dir(config_folder(), version_base="1.3"):
        cfg = compose("train", [f"reward={name}", *overrides])
    return cast(Grade, build(cfg.reward, "reward"))


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
    for grade in (partial(boxed_reward, format_weight=0.1), option("boxed")):
        (reward,) = grade([text], [row("4")])
        assert reward.total == total
        assert reward.correct == float(total >= 0.9)


def test_a_batch_is_graded_in_order_each_answer_by_its_row() -> None:
    texts = ["\\boxed{x+1}", "\\boxed{x+1}", "\\boxed{2}", "none"]
    rewards = option("boxed")(texts, [row("1+x"), row("x+2"), row("2"), row("1+x")])
    assert [r.correct for r in rewards] == [1, 0, 1, 0]
    assert rewards[0].parts == {"accuracy": 1.0, "format": 0.0}
    assert not any(r.timed_out for r in rewards)


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_tells_right_from_wrong(name: str) -> None:
    choices = ["3 cm", "4 cm"] if name in ("multiple_choice", "letters", "by_kind") else []
    asked = row("B" if choices else "4", choices)
    right, wrong = (f"<think> a </think> \\boxed{{{x}}}" for x in ("4", "3"))
    rewards = option(name)([right, wrong], [asked, asked])
    assert [r.correct for r in rewards] == [1.0, 0.0]
    assert rewards[0].total == pytest.approx(1.0)
    for_benchmarks = ("answer", "letters", "words", "by_kind")
    weight = 1.0 if name in for_benchmarks else 0.8 if name == "composite" else 0.9
    assert rewards[1].total == pytest.approx(1 - weight)


def test_weights_are_changed_from_the_command_line() -> None:
    grade = option("boxed", "reward.weights.accuracy=1", "reward.weights.format=0")
    assert grade(["\\boxed{4}"], [row("4")])[0].total == 1.0


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"weights": {"format": 1.0}, "parts": {"format": think_boxed}},
            "reward.parts has format; one part must be named accuracy",
        ),
        (
            {"weights": {"accuracy": 1.0, "form": 0.1}},
            "reward.weights names accuracy, form, reward.parts accuracy; "
            "give every part one weight",
        ),
        ({"workers": 0}, "reward.workers=0 and reward.timeout=5.0 must be at least 1 and above 0"),
        ({"timeout": 0}, "reward.workers=1 and reward.timeout=0 must be at least 1 and above 0"),
    ],
)
def test_mistakes_are_named(changed: dict[str, Any], message: str) -> None:
    parts = {"accuracy": partial(mathematics, read="boxed")}
    with pytest.raises(UserError, match=f"^{message}$"):
        composite(**({"weights": {"accuracy": 1.0}, "parts": parts} | KNOBS | changed))
