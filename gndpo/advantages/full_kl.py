"""The same divergence without sampling noise: over the whole vocabulary, differentiated."""

import torch

from gndpo.scores import Scores
from gndpo.signal import Match, Signal


def full_kl(scores: Scores, *, direction: str | float) -> Signal:
    """Match the student to the teacher at every valid token, whoever wrote it.

    direction: "reverse" KL(pi_S || pi_T), "forward" KL(pi_T || pi_S), or b in (0, 1) for the
    Jensen-Shannon mix of GKD (arXiv 2306.13649), which trains on student and data answers
    alike. Reverse is what `raw_kl` estimates with one sample.
    """
    zero_BT = torch.zeros_like(scores.student.logp_BT)
    weight_BT = scores.mask_BT.to(zero_BT.dtype)
    return Signal(zero_BT, (Match("teacher", weight_BT, {"teacher": 1.0}, direction),))
