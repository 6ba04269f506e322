"""VCSD: distil what the image adds, contrasted with a black one (arXiv 2607.21556)."""

import torch

from gndpo.errors import UserError
from gndpo.scores import Scores
from gndpo.signal import Match, Signal


def vcsd(scores: Scores, *, alpha: float, beta: float, temperature: float) -> Signal:
    """temperature^2 KL(target || pi_S) at that temperature, nats, at every valid token; target
    proportional to q (q / q_black)^alpha on the ids with q >= beta max q, 0 elsewhere.

    q teacher, q_black the same with a black image of the same size; the ids that end an answer
    keep q. In the paper the teacher is the student's own moving average: set that with `teacher`.
    alpha = 0 and a tiny beta is the forward KL to q. At teacher = student, with alpha = 0 or a
    black image that changes nothing, the student is still pulled into its plausible ids: with m
    their mass at the temperature the value is temperature^2 log(1 / m), the gradient's L1 norm 2
    temperature (1 - m).
    """
    if not 0 < beta < 1:
        raise UserError(f"beta={beta} must be between 0 and 1; a tiny one keeps all ids")
    zero_BT = torch.zeros_like(scores.student.logp_BT)
    match = Match(
        "contrast",
        scores.mask_BT.to(zero_BT.dtype),
        {"teacher": 1.0 + alpha, "teacher_black": -alpha},
        "forward",
        support=("teacher", beta),
        temperature=temperature,
        plain_ids=scores.eos,
    )
    return Signal(zero_BT, (match,))
