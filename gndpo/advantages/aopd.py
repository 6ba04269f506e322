"""AOPD: the log-ratio where the teacher likes a token better than the student does, forward KL
elsewhere (arXiv 2605.06387)."""

from gndpo.errors import UserError
from gndpo.pulls import top_k_forward
from gndpo.scores import Scores
from gndpo.signal import Signal
from gndpo.stats import log_ratio


def aopd(scores: Scores, *, threshold: float, k: int) -> Signal:
    """A = (1 - G) R, R = log pi_T(y) - log pi_S(y), nats; and G FKL_k, the forward KL over the
    teacher's k likeliest ids, neither side renormalized; G = 1[pi_T(y) - pi_S(y) <= threshold].

    threshold 0 gates R <= 0, a static form of TrOPD's gate; -1 is raw_kl, 1 is FKL_k at every
    token. Biased: at 0 the policy gradient keeps sum_{pi_T > pi_S} pi_S R grad log pi_S and
    pushes no token down by itself. At teacher = student every token is gated and pulled into
    the top k: with m their mass the gradient's L1 norm is 2 m (1 - m), at a value of 0.
    """
    if not -1 <= threshold <= 1:
        raise UserError(f"threshold={threshold}, a difference of probabilities, must be in -1..1")
    R_BT = log_ratio(scores)
    difference_BT = scores.teacher.logp_BT.exp() - scores.student.logp_BT.exp()
    gated_BT = (scores.own_BT & (difference_BT <= threshold)).to(R_BT.dtype)
    match = top_k_forward("outlier", gated_BT, k, renormalize=False)
    return Signal(R_BT * (1 - gated_BT), (match,), notes={"gate": gated_BT})
