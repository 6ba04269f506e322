"""A smoothly bounded log-ratio."""

from gndpo.errors import UserError
from gndpo.scores import Scores
from gndpo.signal import Signal
from gndpo.stats import log_ratio


def tanh(scores: Scores, *, scale: float) -> Signal:
    """A = scale * tanh(R / scale), R = log pi_T(y) - log pi_S(y) in nats: R near 0, never beyond
    +-scale. A reward-shaping baseline of PowerOPD (arXiv 2606.17199).

    Not the KL's gradient: at scale 1 the expected policy gradient is that of sum_v q (pi / 2 -
    2 arctan(p / q)), p student and q teacher, an f-divergence, 0 only at p = q.
    """
    if not scale > 0:
        raise UserError(f"scale={scale} must be larger than 0")
    return Signal(scale * (log_ratio(scores) / scale).tanh())
