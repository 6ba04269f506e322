"""Where a device runs out of memory, the same goes through once more in halves."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol, TypeVar

import torch

from gndpo import ranks
from gndpo.errors import UserError
from gndpo.pieces import Portion
from gndpo.sources import Source

log = logging.getLogger(__name__)

T = TypeVar("T")
KEYS = ("micro", "answers", "tokens")


class Limits(Protocol):
    """Settings that say what goes through at a time, and can be told to take less."""

    @property
    def portion(self) -> Portion: ...

    def take(self, portion: Portion) -> None: ...


def fitting(
    section: str,
    limits: Limits,
    work: Callable[[], T],
    *,
    views: Mapping[str, Source],
    prompts: int,
    group: int,
) -> T:
    """What `work` gives. Where memory does not suffice, half as much goes through at a time from
    now on, and the work is done once more; a second time is refused, and the first one where other
    processes wait for this one. section: of the limits' keys. prompts, group: of the work."""
    known = limits.portion
    try:
        return work()
    except torch.OutOfMemoryError as error:
        smaller = known.halved(prompts, group) if ranks.size() == 1 else None
        if smaller is None:
            raise too_large(section, known) from error
    limits.take(smaller)  # outside of the except clause, which holds the tensors of what failed
    forget(views)
    log.warning(
        "out of memory: the run goes on with %s; type that to have it from the start",
        changed(section, known, smaller),
    )
    try:
        return work()
    except torch.OutOfMemoryError as error:
        raise too_large(section, smaller) from error


def forget(views: Mapping[str, Source]) -> None:
    """What a failed attempt left: gradients, and prompts that were read with the graph of a
    backward."""
    for source in views.values():
        for policy in source.policies.values():
            policy.memory = None
            policy.zero_grad(set_to_none=True)
    torch.cuda.empty_cache()


def changed(section: str, old: Portion, new: Portion) -> str:
    """updates.micro=1 updates.answers=4: what to type for a smaller portion."""
    pairs = [(key, getattr(old, key), getattr(new, key)) for key in KEYS]
    return " ".join(f"{section}.{key}={value}" for key, before, value in pairs if value != before)


def too_large(section: str, portion: Portion) -> UserError:
    now = " ".join(f"{section}.{key}={getattr(portion, key) or 'null'}" for key in KEYS)
    return UserError(
        f"out of memory with {now}: set {section}.micro=1 or a smaller {section}.answers, or lower "
        "rollout.max_tokens or updates.chunk, or set model.checkpointing=true"
    )


@contextmanager
def evaluating(batch: int) -> Iterator[None]:
    """Within, memory that does not suffice is one sentence."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"out of memory in the evaluation with eval.batch={batch}: set eval.batch="
            f"{max(1, batch // 2)}"
        ) from error
