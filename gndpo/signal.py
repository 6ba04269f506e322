"""What a strategy gives: an advantage for each sampled token, and matches to pull distributions
towards targets."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from gndpo.scores import Scores


@dataclass(frozen=True)
class Match:
    """Pull the current distribution p of one student view towards a detached target q.

    target: q in log space, log q = sum_i c_i log view_i (normalized), c_i a float or [B, T];
    {"sampled": 1} is the one-hot target of supervised tokens. direction: "reverse" KL(p||q),
    "forward" KL(q||p), or b in (0, 1) for the Jensen-Shannon mix b KL(q||m) + (1-b) KL(p||m), m
    = b q + (1-b) p (GKD, arXiv 2306.13649). weight_BT: nats count this much, per token. support:
    None (all of V); (view, k), k a whole number: the k likeliest ids of a scored view; (view, b),
    b in (0, 1): ids at least b times as likely as its likeliest. renormalize: (target, student)
    over it. temperature tau: D(p^(1/tau) || q^(1/tau)) tau^2, both normalized. plain_ids: ids
    where log q is that of the target's first view alone.
    """

    name: str
    weight_BT: Tensor
    target: Mapping[str, float | Tensor]
    direction: str | float = "reverse"
    view: str = "student"
    support: tuple[str, int | float] | None = None
    renormalize: tuple[bool, bool] = (True, False)
    temperature: float = 1.0
    plain_ids: tuple[int, ...] = ()


@dataclass(frozen=True)
class Signal:
    """advantage_BT: how strongly to reinforce each sampled token, no gradient through it,
    exactly 0 at padding. notes: [B, T] tensors to show (accepted, clamped, gate). carry: small
    tensors for the next step."""

    advantage_BT: Tensor
    matches: tuple[Match, ...] = ()
    notes: Mapping[str, Tensor] = field(default_factory=dict)
    carry: Mapping[str, Tensor] = field(default_factory=dict)


Strategy = Callable[[Scores], Signal]
