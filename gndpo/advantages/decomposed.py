"""VGS: visual gradient steering with language preservation (arXiv 2606.00564)."""

import torch
from torch import Tensor

from gndpo.errors import UserError
from gndpo.scores import Scores
from gndpo.signal import Match, Signal
from gndpo.stats import visual_gate


def decomposed(
    scores: Scores,
    *,
    gamma: float,
    lam: float,
    eta: float,
    gate_quantile: float,
    low_quantile: float | None,
    scope: str,
) -> Signal:
    """eta * [KL(p_I || q_I) + gamma KL(p_I || q*) + lam 1[VDS > Q] KL(p_x || q_x)], eqs. 16-18.

    p student, q teacher, _I with and _x without the image; q* = softmax(log p_x + log q_I - log
    q_x), p_x detached, keeps the student's own language prior and takes the teacher's image
    evidence; VDS = KL(q_I || q_x), Q its `gate_quantile` over the `scope`. The first two terms
    are one: (1 + gamma) KL(p_I || m) plus a constant, with m = softmax(log q_I + gamma / (1 +
    gamma) (log p_x - log q_x)). With gamma = lam = 0, eta = 1 this is full_kl. low_quantile:
    gamma per token, 0 up to that quantile of VDS, gamma / 2 from there to Q, gamma above (eq. 25).
    """
    zero_BT = torch.zeros_like(scores.student.logp_BT)
    mask_BT = scores.mask_BT.to(zero_BT.dtype)
    gate_BT = visual_gate(scores, gate_quantile, scope)
    strength: float | Tensor = gamma
    if low_quantile is not None:
        if low_quantile > gate_quantile:
            raise UserError(
                f"low_quantile={low_quantile} must not exceed gate_quantile={gate_quantile}"
            )
        strength = gamma / 2 * (visual_gate(scores, low_quantile, scope) + gate_BT)
    prior = strength / (1 + strength)
    steered = {"teacher": 1.0, "student_text": prior, "teacher_text": -prior}
    matches = (
        Match("steered", eta * (1 + strength) * mask_BT, steered),
        Match("language", eta * lam * gate_BT, {"teacher_text": 1.0}, view="student_text"),
    )
    visual_BT = scores.teacher.kl("teacher_text")
    return Signal(zero_BT, matches, notes={"visual_dependency": visual_BT, "gate": gate_BT})
