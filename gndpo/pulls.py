"""Pulls towards the teacher that several strategies share."""

from torch import Tensor

from gndpo.scores import Scores
from gndpo.signal import Match


def top_k_forward(name: str, weight_BT: Tensor, k: int, *, renormalize: bool) -> Match:
    """FKL_k = sum over the teacher's k likeliest ids of q (log q - log p), nats, differentiated; q
    teacher, renormalized on them or not, p student, never.

    With m = sum of q over them its gradient on logit j is m p_j - q_j 1[j in them], at most 2 m in
    L1 norm however improbable they are to the student.
    """
    renormalized = (renormalize, False)
    target, support = {"teacher": 1.0}, ("teacher", k)
    return Match(name, weight_BT, target, "forward", support=support, renormalize=renormalized)


def top_k_forward_value(scores: Scores, k: int) -> Tensor:
    """FKL_k of every token, the teacher renormalized, as a number without gradient, [B, T]; at
    least 0 and unbounded."""
    logq_BTK = scores.teacher.top_k(k)[1].log_softmax(-1)
    logp_BTK = scores.student.at_top_k("teacher", k)
    return (logq_BTK.exp() * (logq_BTK - logp_BTK)).sum(-1) * scores.mask_BT
