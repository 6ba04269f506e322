"""TOP-D: the log-ratio to a teacher mixed with the student (arXiv 2607.04751)."""

import math

import torch
from torch import Tensor

from gndpo.errors import UserError
from gndpo.scores import Scores
from gndpo.signal import Signal
from gndpo.stats import Sums, log_ratio, moments


def topd(
    scores: Scores, *, alpha: float, returns: bool, scope: str | float | None, eps: float
) -> Signal:
    """r = log(alpha pi_T(y) + (1 - alpha) pi_S(y)) - log pi_S(y), nats, at least log(1 - alpha);
    with `returns` r_k + mean_{j>k} r_j over the answer; then (r - mu) / sqrt(s2 + eps) over the
    student's tokens of the scope ("group": the prompt, as in the paper; None: not whitened).

    Whitening aside, r's expected policy gradient is that of KL(pi_S || mixture), the mixture held
    fixed. A return adds what a token does to the rest of its answer, but as a mean: exact for
    the answer's KL where one token follows, biased (too small) where more do. alpha = 1,
    returns=False, scope=None is raw_kl.
    """
    if not 0 < alpha <= 1:
        raise UserError(f"alpha={alpha} must be in (0, 1]")
    A_BT = proximal(log_ratio(scores), alpha)
    if returns:
        A_BT = A_BT + mean_of_later(A_BT, scores.own_BT)
    carry: Sums = {}
    if scope is not None:
        mean_BT, variance_BT, carry = moments(scores, A_BT, scope, bessel=True, eps=eps)
        A_BT = (A_BT - mean_BT) * (variance_BT + eps).rsqrt()
    return Signal(A_BT * scores.own_BT, carry=carry)


def proximal(R_BT: Tensor, alpha: float) -> Tensor:
    """log(alpha e^R + 1 - alpha), stable for any R; less its value at 0, so that rounding leaves
    R = 0 exactly there."""
    teacher, student = math.log(alpha), math.log1p(-alpha) if alpha < 1 else -math.inf
    student_BT = torch.full_like(R_BT, student)
    at_zero_BT = torch.logaddexp(torch.full_like(R_BT, teacher), student_BT)
    return torch.logaddexp(R_BT + teacher, student_BT) - at_zero_BT


def mean_of_later(x_BT: Tensor, of_BT: Tensor) -> Tensor:
    """At every token the mean of x over the later ones at `of_BT` (bool) of its answer, or 0."""
    of_BT = of_BT.to(x_BT.dtype)
    sum_BT, count_BT = (y.flip(-1).cumsum(-1).flip(-1) - y for y in (x_BT * of_BT, of_BT))
    return sum_BT / count_BT.clamp_min(1)
