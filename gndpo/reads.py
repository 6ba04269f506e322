"""What a strategy reads, found by one dry run on random scores; scoring then computes exactly
that."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from gndpo.errors import UserError
from gndpo.matches import touch
from gndpo.scores import Scores
from gndpo.signal import Signal, Strategy
from gndpo.views import VIEWS, Request


@dataclass(frozen=True)
class Reads:
    """requests: quantities to compute, per view. whole: views whose distributions are kept for
    the update. trained: student views that need gradient. Student and teacher log-probabilities
    of the sampled tokens are always there: metrics need them."""

    requests: Mapping[str, frozenset[Request]]
    whole: frozenset[str]
    trained: frozenset[str]


@contextmanager
def knobs_at_fault() -> Iterator[None]:
    """What a strategy raises that computes with values of another kind."""
    try:
        yield
    except (ArithmeticError, AssertionError, IndexError, TypeError, ValueError) as error:
        reason = str(error) or type(error).__name__
        raise UserError(
            f"the strategy fails on a random batch, check its knobs: {reason}"
        ) from error


def dry_run(strategy: Strategy, vocabulary: int) -> Reads:
    """Run the strategy once on a tiny random batch over the real vocabulary and note what it,
    and its matches, read."""
    scores = random_scores(vocabulary)
    with knobs_at_fault():
        signal = strategy(scores)
    if not isinstance(signal, Signal):
        raise UserError(
            f"the strategy returned {type(signal).__name__}, it must return a gndpo.signal.Signal"
        )
    names = [match.name for match in signal.matches]
    if len({*names, "surrogate"}) <= len(names):
        raise UserError(f"matches need names of their own, not 'surrogate'; found {names}")
    with knobs_at_fault():
        for match in signal.matches:
            touch(match, scores)
    requests = {
        name: set(view.known) for name, view in scores.views.items() if view.known or view.whole
    }
    for asked in list(requests.values()):
        for request in asked:
            if request[0] == "kl":
                requests.setdefault(request[1], set())
    for name in ("student", "teacher"):
        requests.setdefault(name, set()).add(("logp",))
    return Reads(
        requests={name: frozenset(asked) for name, asked in requests.items()},
        whole=frozenset(name for name, view in scores.views.items() if view.whole),
        trained=frozenset({"student", *(match.view for match in signal.matches)}),
    )


def only_reinforces(strategy: Strategy, vocabulary: int) -> bool:
    """Whether all that the strategy does is weigh what the student itself wrote."""
    return not strategy(random_scores(vocabulary)).matches


def random_scores(vocabulary: int, B: int = 4, T: int = 3, seed: int = 0) -> Scores:
    """Random distributions for every view, answers of different lengths, two prompts."""
    generator = torch.Generator().manual_seed(seed)
    logits = {name: torch.randn(B, T, vocabulary, generator=generator) for name in VIEWS}
    length_B = torch.tensor([T, *([max(1, T - 1)] * (B - 1))])
    return Scores.from_logits(
        **logits,  # type: ignore[arg-type]
        ids=torch.randint(vocabulary, (B, T), generator=generator),
        mask=torch.arange(T) < length_B[:, None],
        uniform=torch.rand(B, T, generator=generator),
        behaviour_logp=torch.zeros(B, T),
        group=torch.arange(B) // 2,
        reward=torch.rand(B, generator=generator),
    )
