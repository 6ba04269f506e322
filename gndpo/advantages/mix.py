"""Two strategies at once, for example reinforcement learning and distillation (arXiv 2606.00564,
eq. 22)."""

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from gndpo.errors import UserError
from gndpo.scores import Scores
from gndpo.signal import Match, Signal, Strategy


def mix(scores: Scores, *, alpha: float, first: Strategy, second: Strategy) -> Signal:
    """(1 - alpha) first + alpha second: of the advantages and of the weights of the matches.

    Names of matches and notes get first_ or second_ in front; each part keeps a carry of its
    own. alpha = 0 is first, 1 is second.
    """
    if not 0 <= alpha <= 1:
        raise UserError(f"alpha={alpha}, the share of the second strategy, must be in 0..1")
    a, b = part(scores, "first_", first), part(scores, "second_", second)
    return Signal(
        (1 - alpha) * a.advantage_BT + alpha * b.advantage_BT,
        (*scaled(a.matches, 1 - alpha), *scaled(b.matches, alpha)),
        notes={**a.notes, **b.notes},
        carry={**a.carry, **b.carry},
    )


def part(scores: Scores, prefix: str, strategy: Strategy) -> Signal:
    """A strategy's signal under names of its own, given what it carried under them."""
    carried = {name: x for name, x in scores.carry.items() if name.startswith(prefix)}
    own = {name.removeprefix(prefix): x for name, x in carried.items()}
    signal = strategy(replace(scores, carry=own))
    return replace(
        signal,
        matches=tuple(replace(match, name=prefix + match.name) for match in signal.matches),
        notes=prefixed(signal.notes, prefix),
        carry=prefixed(signal.carry, prefix),
    )


def prefixed(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {prefix + name: x for name, x in tensors.items()}


def scaled(matches: tuple[Match, ...], factor: float) -> tuple[Match, ...]:
    return tuple(replace(match, weight_BT=factor * match.weight_BT) for match in matches)
