"""What several strategies are tested on: golden vectors, and batches whose mean is an
expectation."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from golden import BATCH, LOGITS
from torch import Tensor, tensor

from gndpo.signal import Strategy

TEACHER = tensor([[-0.10, -2.00, -9.00, 7.0], [-0.50, -0.05, 3.0, -3.0]], dtype=torch.double)
STUDENT = tensor([[-0.30, -1.00, -0.50, 1.0], [-0.70, -4.00, 1.0, 2.0]], dtype=torch.double)
MASK = tensor([[1, 1, 1, 0], [1, 1, 0, 0]]).bool()


@pytest.fixture(scope="session")
def two_way() -> Callable[..., dict[str, Tensor]]:
    """The vector that raw_kl and GNDPO share: five tokens, two of them outliers, three of
    padding. Logits over two ids that give id 0 the wanted log-probability; garbage at padding."""

    def logits(logp_BT: Tensor) -> Tensor:
        rest_BT = torch.log1p(-logp_BT.exp())
        return torch.stack([logp_BT, rest_BT], -1).where(MASK[..., None], torch.nan)

    def batch(student: Tensor = STUDENT, teacher: Tensor = TEACHER) -> dict[str, Tensor]:
        return {
            "student": logits(student),
            "teacher": logits(teacher),
            "ids": torch.zeros(2, 4, dtype=torch.long),
            "mask": MASK,
        }

    return batch


@pytest.fixture(scope="session")
def three_tokens() -> dict[str, Tensor]:
    """The vector of TrOPD and its neighbours, as one batch."""
    return {**LOGITS, **BATCH}


@dataclass(frozen=True)
class Census:
    """Two states, an uncertain one and a certain one, 20 answers of one token each, every id as
    often as the student would write it: a mean over the batch is an expectation. p_SV, q_SV:
    student and teacher in the states. Log-ratios below log(0.3 / 0.7) occur in both."""

    p_SV: Tensor
    q_SV: Tensor
    ids_SB: Tensor
    outcome: Callable[..., Any]

    def policy_gradient(self, strategy: Strategy, **batch: Any) -> Tensor:
        """d loss / d logits, [S, V], of the 40 answers under a token mean."""
        S, B = self.ids_SB.shape
        logits = {
            name: x.log()[:, None].expand(S, B, -1).reshape(S * B, 1, -1)
            for name, x in {"student": self.p_SV, "teacher": self.q_SV}.items()
        }
        plain = {"ids": self.ids_SB.reshape(-1, 1), "mask": torch.ones(S * B, 1)}
        done = self.outcome(strategy, logits, aggregation="token_mean", **plain | batch)
        return done.gradients["student"].reshape(S, B, -1).sum(1)

    def gradient_of(self, objective: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """d / d logits of the mean over both states of sum_v objective(p_SV, q_SV)."""
        logits_SV = self.p_SV.log().requires_grad_()
        objective(logits_SV.softmax(-1), self.q_SV).sum(-1).mean().backward()
        assert logits_SV.grad is not None
        return logits_SV.grad


@pytest.fixture(scope="session")
def census(outcome: Callable[..., Any]) -> Census:
    counts_SV = tensor([[9, 6, 4, 1], [17, 1, 1, 1]])
    q_SV = tensor([[0.3, 0.5, 0.19, 0.01], [0.25, 0.5, 0.2, 0.05]]).double()
    ids_SB = torch.stack([torch.arange(4).repeat_interleave(n_V) for n_V in counts_SV])
    return Census(counts_SV.double() / 20, q_SV, ids_SB, outcome)


@pytest.fixture(scope="session")
def pairs(outcome: Callable[..., Any]) -> Callable[..., tuple[Tensor, Tensor]]:
    """Every pair of answers of one token that a group of two may hold, weighted by its
    probability: (expected policy gradient, p), [V] each. reward_V: of an answer, by its id."""

    def expected(strategy: Strategy, reward_V: Tensor) -> tuple[Tensor, Tensor]:
        V = len(reward_V)
        logits = {
            "student": torch.linspace(-1, 1, V).double(),
            "teacher": torch.linspace(1, -2, V).double().square(),
        }
        p_V = logits["student"].softmax(-1)
        ids_B = torch.cartesian_prod(torch.arange(V), torch.arange(V)).flatten()
        B = len(ids_B)
        done = outcome(
            strategy,
            {name: x.expand(B, 1, V) for name, x in logits.items()},
            ids=ids_B[:, None],
            mask=torch.ones(B, 1),
            group=torch.arange(B) // 2,
            reward=reward_V[ids_B],
            aggregation="token_mean",
        )
        weight_B = torch.outer(p_V, p_V).flatten().repeat_interleave(2)
        gradient_BV = done.gradients["student"][:, 0]
        return (weight_B[:, None] * gradient_BV).sum(0) * B / 2, p_V

    return expected
