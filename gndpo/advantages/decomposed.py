"""VGS: visual gradient steering with language preservation (arXiv 2606.00564)."""

import torch

from gndpo.scores import Scores
from gndpo.signal import Match, Signal
from gndpo.stats import quantile


def decomposed(
    scores: Scores, *, gamma: float, lam: float, eta: float, gate_quantile: float
) -> Signal:
    """eta * [KL(p_I || q_I) + gamma KL(p_I || q*) + lam 1[VDS > Q] KL(p_x || q_x)], eqs. 16-18.

    p student, q teacher, _I with and _x without the image; q* = softmax(log p_x + log q_I - log
    q_x), p_x detached, keeps the student's own language prior and takes the teacher's image
    evidence; VDS = KL(q_I || q_x), Q its `gate_quantile` over the step. The first two terms are
    one: (1 + gamma) KL(p_I || m) plus a constant, with m = softmax(log q_I + gamma / (1 + gamma)
    (log p_x - log q_x)). With gamma = lam = 0, eta = 1 this is full_kl.
    """
    zero_BT = torch.zeros_like(scores.student.logp_BT)
    mask_BT = scores.mask_BT.to(zero_BT.dtype)
    prior = gamma / (1 + gamma)
    steered = {"teacher": 1.0, "student_text": prior, "teacher_text": -prior}
    visual_BT = scores.teacher.kl("teacher_text")
    gate_BT = (visual_BT > quantile(scores.pool(visual_BT), gate_quantile)) * mask_BT
    matches = (
        Match("steered", eta * (1 + gamma) * mask_BT, steered),
        Match("language", eta * lam * gate_BT, {"teacher_text": 1.0}, view="student_text"),
    )
    return Signal(zero_BT, matches, notes={"visual_dependency": visual_BT, "gate": gate_BT})
