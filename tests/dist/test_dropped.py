"""Prompts that are too long are left out by several processes as by one, also where a process then
has none: a stand-in keeps it in step, and counts for nothing."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.dist.test_ranks import FEW, moved, same

DROP = ["data.overlong=drop", "data.max_prompt_tokens=40"]
"""Of the first ten rows 0, 1, 4, 5, 7 and 8 have 36 tokens, the others 43."""
TWICE = ["updates.minibatches=2", "updates.epochs=2", "surrogate=ppo"]


@pytest.mark.dist
@pytest.mark.parametrize(
    ("trainer", "count", "overrides", "dropped"),
    [
        ("ddp", 2, ["prompts=5"], [2, 2]),
        ("ddp", 2, ["prompts=4"], [2, 1]),  # the second has rows 2 and 3 in the first step
        ("fsdp", 2, ["prompts=4"], [2, 1]),
        ("ddp", 3, ["prompts=4", "updates.micro=1"], [2, 1]),
        ("ddp", 2, ["prompts=5", *TWICE], [2, 2]),
    ],
)
def test_ranks_that_drop_prompts_compute_the_step_of_one(
    steps: Callable[..., Any], trainer: str, count: int, overrides: list[str], dropped: list[int]
) -> None:
    alone = steps(1, "cpu", FEW, *DROP, *overrides)
    moved(alone)
    for name in FEW:
        assert [row["rollout/dropped"] for row in alone[name]["metrics"]] == dropped
    same(steps(count, trainer, FEW, *DROP, *overrides), alone)
