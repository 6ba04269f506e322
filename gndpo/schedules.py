"""Learning rate as a pure function of the step: nothing to save, nothing to restore."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from gndpo.errors import UserError

DECAYS: dict[str, Callable[[float], float]] = {
    "linear": lambda x: 1 - x,
    "cosine": lambda x: 0.5 * (1 + math.cos(math.pi * x)),
    "constant": lambda x: 1.0,
}


@dataclass(frozen=True)
class Schedule:
    """warmup: steps of linear rise. decay: linear or cosine to 0 at the last step, or constant."""

    warmup: int
    decay: str

    def __post_init__(self) -> None:
        if self.decay not in DECAYS:
            raise UserError(
                f"schedule.decay={self.decay} is unknown; choose one of {', '.join(DECAYS)}"
            )

    def factor(self, step: int, steps: int) -> float:
        """What the learning rate is multiplied by at step 0 .. steps-1."""
        if step < self.warmup:
            return (step + 1) / (self.warmup + 1)
        return float(DECAYS[self.decay]((step - self.warmup) / max(1, steps - self.warmup)))
