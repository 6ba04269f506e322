"""TrOPD: trust the log-ratio where the teacher would accept the token, other estimators outside
(arXiv 2606.01249)."""

import torch

from gndpo.scores import Scores
from gndpo.signal import Match, Signal
from gndpo.stats import log_ratio


def trust_region(scores: Scores, *, k: int | None, floor: float | None) -> Signal:
    """Inside, A = R = log pi_T(y) - log pi_S(y), with M ~ Bernoulli(min(pi_T/pi_S, 1)), speculative
    decoding's acceptance rule.

    Outside (M = 0): A = max(R, floor), floor in nats, or 0 where floor is None; and, unless k is
    None, the student is pulled towards the teacher's k likeliest tokens by forward KL, the
    teacher renormalized on them, the student not (section 2.3 of the paper, differentiated). The
    paper's arms: mask (None, None), clip (None, floor), FKL outlier (k, None). The share of
    rejected tokens is the total variation distance of the policies. Teacher-written prefixes are
    not part of this function.
    """
    R_BT = log_ratio(scores)
    accepted_BT = (scores.uniform_BT < R_BT.clamp(max=0).exp()) & scores.mask_BT
    rejected_BT = (scores.mask_BT & ~accepted_BT).to(R_BT.dtype)
    outside_BT = torch.zeros_like(R_BT) if floor is None else rejected_BT * R_BT.clamp(min=floor)
    matches: tuple[Match, ...] = ()
    if k is not None:
        support = ("teacher", k)
        matches = (Match("outlier", rejected_BT, {"teacher": 1.0}, "forward", support=support),)
    notes = {"accepted": accepted_BT.to(R_BT.dtype)}
    return Signal(R_BT.where(accepted_BT, outside_BT), matches, notes)
