"""Numbers that are not finite: what was so first, what is kept of such a step, and when it is too
often."""

import logging
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from gndpo.errors import UserError

log = logging.getLogger(__name__)

Numbers = Mapping[str, Any]
"""A row of metrics; null is a number that was not finite."""


def first_not_finite(row: Numbers) -> str:
    """What of a step was not finite first, in the order in which it is computed."""
    found = {
        "the student's log-probability of a sampled token": broken(row["policy/kl_behaviour"]),
        "the teacher's log-probability of a sampled token": row["teacher/log_ratio_infinite"] > 0,
        "the advantage": row["advantage/infinite"] > 0,
        "the loss": broken(row["train/loss"]),
    }
    return next((name for name, is_so in found.items() if is_so), "the gradient")


def broken(x: float | None) -> bool:
    return x is None or not math.isfinite(x)


@dataclass(frozen=True)
class Skips:
    """updates: made so far. count: skipped since the last one."""

    updates: float = 0
    count: float = 0

    def after(self, row: Numbers) -> "Skips":
        made = row["train/updates"] > self.updates
        return Skips(row["train/updates"], row["grad/skipped"] + (0 if made else self.count))

    def check(self, row: Numbers, most: int | None) -> None:
        """Say which quantity was not finite when updates begin to be skipped; refuse to go on
        after `most` in a row (None: never)."""
        if self.count and self.count == row["grad/skipped"]:
            log.warning(
                "step %d: %s is not finite, so the update is skipped and the weights stay as they "
                "are; grad/skipped counts such updates",
                *(row["step"], first_not_finite(row)),
            )
        if most is not None and self.count >= most:
            raise UserError(
                f"step {row['step']}: {self.count:g} updates in a row were skipped, because "
                f"{first_not_finite(row)} is not finite; check the teacher's checkpoint, set "
                "model.dtype=float32, a smaller optimizer.lr or an advantage with a clamp, or "
                f"allow more with updates.max_skipped (now {most})"
            )


def skips_of(rows: Iterable[Numbers]) -> Skips:
    """Where a run's rows end."""
    skips = Skips()
    for row in rows:
        skips = skips.after(row)
    return skips


def kept(old: Mapping[str, Tensor], new: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """What a strategy hands to the next step; what it handed to this one, if the new has a number
    that is not finite and would stay for ever."""
    if all(bool(x.isfinite().all()) for x in new.values()):
        return {name: x.detach() for name, x in new.items()}
    return old


def as_json(value: Any) -> Any:
    """The same structure with null for numbers that are not finite, which JSON does not have."""
    if isinstance(value, Mapping):
        return {key: as_json(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [as_json(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
