"""The control of VGS: steer along the language prior instead of the image (arXiv 2606.00564)."""

import torch

from gndpo.scores import Scores
from gndpo.signal import Match, Signal
from gndpo.stats import visual_gate


def language_steering(
    scores: Scores, *, gamma: float, lam: float, eta: float, gate_quantile: float, scope: str
) -> Signal:
    """eta * [KL(p_I || q_I) + gamma KL(p_x || q_x) + lam 1[VDS > Q] KL(p_I || q*)], eqs. 19-21:
    `decomposed` with language and image exchanged.

    p student, q teacher, _I with and _x without the image; q* = softmax(log p_x + log q_I - log
    q_x), p_x detached; VDS = KL(q_I || q_x), Q its `gate_quantile` over the `scope`. Eq. 21 prints
    its student without the image, taken as a misprint. With gamma = lam = 0, eta = 1 this is
    full_kl.
    """
    zero_BT = torch.zeros_like(scores.student.logp_BT)
    mask_BT = scores.mask_BT.to(zero_BT.dtype)
    gate_BT = visual_gate(scores, gate_quantile, scope)
    star = {"teacher": 1.0, "student_text": 1.0, "teacher_text": -1.0}
    matches = (
        Match("teacher", eta * mask_BT, {"teacher": 1.0}),
        Match("language", eta * gamma * mask_BT, {"teacher_text": 1.0}, view="student_text"),
        Match("visual", eta * lam * gate_BT, star),
    )
    visual_BT = scores.teacher.kl("teacher_text")
    return Signal(zero_BT, matches, notes={"visual_dependency": visual_BT, "gate": gate_BT})
