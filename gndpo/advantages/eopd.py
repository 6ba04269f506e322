"""EOPD: forward KL on top of the log-ratio where the teacher is uncertain (arXiv 2603.07079)."""

from gndpo.pulls import top_k_forward
from gndpo.scores import Scores
from gndpo.signal import Signal
from gndpo.stats import log_ratio


def eopd(scores: Scores, *, alpha: float, threshold: float, k: int) -> Signal:
    """A = R = log pi_T(y) - log pi_S(y), nats, and added to its loss alpha 1[H_T >= threshold]
    FKL_k, differentiated, at the student's tokens.

    H_T is the teacher's entropy, nats; FKL_k the forward KL over the teacher's k likeliest ids,
    neither side renormalized. H_T belongs to the state, so the expected gradient is exactly that
    of KL(pi_S || pi_T) + alpha 1[H_T >= threshold] FKL_k. alpha = 0 is raw_kl.
    At teacher = student gated tokens are pulled into the top k: with m their mass the gradient's
    L1 norm is 2 alpha m (1 - m), at a value of 0.
    """
    R_BT = log_ratio(scores)
    gated_BT = (scores.own_BT & (scores.teacher.entropy_BT >= threshold)).to(R_BT.dtype)
    match = top_k_forward("uncertain", alpha * gated_BT, k, renormalize=False)
    return Signal(R_BT, (match,) if alpha else (), notes={"gate": gated_BT})
