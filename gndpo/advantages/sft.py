"""Supervised fine-tuning: imitate the answers, whoever wrote them."""

import torch

from gndpo.scores import Scores
from gndpo.signal import Match, Signal


def sft(scores: Scores) -> Signal:
    """The negative log-likelihood -log pi(y_t) of every valid token, nats; no teacher is read.

    Meant for rollout=data or rollout=teacher (distillation on sequences, arXiv 1606.07947). On
    tokens that the student wrote its expected gradient is 0 and only noise is left.
    At teacher = student it does not vanish: pi - 1[y_t] has the L1 norm 2 (1 - pi(y_t)).
    """
    zero_BT = torch.zeros_like(scores.student.logp_BT)
    weight_BT = scores.mask_BT.to(zero_BT.dtype)
    return Signal(zero_BT, (Match("imitation", weight_BT, {"sampled": 1.0}),))
