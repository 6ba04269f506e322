"""PowerOPD: a difference of probabilities instead of a log-ratio (arXiv 2606.17199)."""

from gndpo.errors import UserError
from gndpo.scores import Scores
from gndpo.signal import Signal


def power(scores: Scores, *, alpha: float) -> Signal:
    """A = pi_T(y)^alpha - pi_S(y)^alpha, no unit, in [-1, 1], of the sign of the log-ratio R.

    A / alpha -> R as alpha -> 0. Not the KL's gradient: the expected policy gradient is that of
    sum_v p^(alpha + 1) / (alpha + 1) - p q^alpha, p student and q teacher: up to a constant a
    Bregman divergence, least at p = q alone; alpha = 1 is half the squared distance.
    """
    if not alpha > 0:
        raise UserError(f"alpha={alpha} must be larger than 0")
    teacher_BT = (alpha * scores.teacher.logp_BT).exp()
    return Signal((teacher_BT - (alpha * scores.student.logp_BT).exp()) * scores.own_BT)
