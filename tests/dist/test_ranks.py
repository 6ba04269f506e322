"""Two and three processes that share a step compute what one computes: advantages, loss, gradient
norms, weights. Five prompts are never divided evenly."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.test_contract import NAMES

Found = dict[str, dict[str, list[Any]]]
Steps = Callable[..., Found]

FEW = ["gndpo", "trust_region", "decomposed"]
"""An advantage over the whole batch, a gate with a match, matches on text views."""


def same(found: Found, alone: Found) -> None:
    """To 1e-9; numbers near 0 by their distance."""
    assert found.keys() == alone.keys()
    for name, there in found.items():
        for A_N, B_N in zip(there["advantages"], alone[name]["advantages"], strict=True):
            torch.testing.assert_close(A_N, B_N, rtol=1e-9, atol=1e-9)
        for a, b in zip(there["metrics"], alone[name]["metrics"], strict=True):
            assert {key: x for key, x in a.items() if not key.startswith("time/")} == pytest.approx(
                {key: x for key, x in b.items() if not key.startswith("time/")}, rel=1e-9, abs=1e-9
            ), name
        for after, other in zip(there["weights"], alone[name]["weights"], strict=True):
            torch.testing.assert_close(after, other, rtol=1e-9, atol=1e-9)


def moved(found: Found) -> None:
    """The weights did change, or their equality would say nothing."""
    for name, there in found.items():
        first, second = there["weights"]
        assert any(not torch.equal(x, second[key]) for key, x in first.items()), name


def test_two_ranks_compute_the_step_of_one(steps: Steps) -> None:
    alone = steps(1, "cpu", FEW)
    moved(alone)
    same(steps(2, "ddp", FEW), alone)


@pytest.mark.dist
@pytest.mark.parametrize("trainer", ["ddp", "fsdp"])
@pytest.mark.parametrize("count", [2, 3])
def test_every_strategy(steps: Steps, every: Found, trainer: str, count: int) -> None:
    same(steps(count, trainer, NAMES), every)


@pytest.fixture(scope="module")
def every(steps: Steps) -> Found:
    found = steps(1, "cpu", NAMES)
    moved({name: there for name, there in found.items() if name != "grpo"})  # may earn alike
    return found


@pytest.mark.dist
@pytest.mark.parametrize("trainer", ["ddp", "fsdp"])
@pytest.mark.parametrize(
    "overrides",
    [
        ["updates.micro=1"],
        ["updates.tokens=60"],
        ["updates.answers=1", "rollout.micro=1"],
        ["updates.epochs=2", "updates.minibatches=2", "prompts=7", "surrogate=ppo"],
        ["surrogate.aggregation=token_mean"],
        ["surrogate.aggregation=sequence_mean_token_sum"],
        ["rollout=mixed_data", "rollout.writer.per=answer"],
        ["model.checkpointing=true"],
        ["model.parts=[language]", "reuse.images=true"],
        ["rollout.max_tokens=1"],
    ],
    ids=lambda overrides: " ".join(overrides),
)
def test_however_a_step_is_cut(steps: Steps, trainer: str, overrides: list[str]) -> None:
    names = ["trust_region", "decomposed"]
    same(steps(2, trainer, names, *overrides), steps(1, "cpu", names, *overrides))
