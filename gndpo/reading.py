"""How a policy reads answers while they are written, and what makes that faster."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gndpo.errors import UserError
from gndpo.models.caches import Growing, static
from gndpo.policy import Policy, Prefix
from gndpo.prompts import Rendering


@dataclass(frozen=True)
class Speed:
    """Ways to write the same answers in less time. compact: those that have ended leave the batch
    once at most this share of it is still being written (None: never). grow: caches have room for
    the next tokens. ahead: tokens that a script gives every answer are read at once. compile:
    caches of one shape, and the forward behind them compiled."""

    compact: float | None = None
    grow: bool = False
    ahead: bool = False
    compile: bool = False

    def __post_init__(self) -> None:
        if self.compact is not None and not 0 < self.compact < 1:
            raise UserError(
                f"rollout.speed.compact={self.compact}: it is a share of the batch; use a number "
                "between 0 and 1, or null"
            )
        if self.compile and (self.grow or self.compact is not None):
            raise UserError(
                "rollout.speed.compile=true needs caches that keep their shape; use "
                "rollout.speed.grow=false and rollout.speed.compact=null"
            )

    def ready(self, prefix: Prefix, tokens: int) -> Prefix:
        """The prefix with the cache for so many tokens."""
        if self.compile:
            return prefix.held(static, tokens)
        return prefix.held(Growing, tokens) if self.grow else prefix


PLAIN = Speed()


@dataclass(frozen=True)
class Reader:
    """A policy and what it has read so far. known_BsH: hidden states that predict the first tokens
    of the answers: one, and one more for every token that was given."""

    policy: Policy
    prefix: Prefix
    known_BsH: Tensor

    @staticmethod
    def of(
        policy: Policy,
        rendering: Rendering,
        *,
        group: int,
        max_tokens: int,
        given_Bs: Tensor,
        speed: Speed,
    ) -> "Reader":
        """Reads the prompts once for the G answers of each, and the tokens that answers are given,
        as many at a time as the prompts had."""
        prefix = speed.ready(policy.encode(rendering).repeat(group), max_tokens)
        size = max(1, rendering.ids_PL.shape[1] // group)
        states = [
            policy.advance(prefix, given_Bs[:, written : written + size], written)
            for written in range(0, given_Bs.shape[1], size)
        ]
        return Reader(policy, prefix, torch.cat([prefix.last_BH[:, None], *states], 1))

    def hidden(self, id_b: Tensor, t: int) -> Tensor:
        """Hidden states [B, H] that predict token t, behind the tokens id_b."""
        if t < self.known_BsH.shape[1]:
            return self.known_BsH[:, t]
        return self.policy.advance(self.prefix, id_b[:, None], written=t - 1)[:, 0]

    def select(self, alive_b: Tensor) -> "Reader":
        """Some of the answers."""
        return replace(self, prefix=self.prefix.select(alive_b), known_BsH=self.known_BsH[alive_b])
