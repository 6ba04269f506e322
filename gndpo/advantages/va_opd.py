"""VA-OPD: more weight for the answers and tokens that look at the image (arXiv 2605.21924)."""

from functools import partial

import torch
from torch import Tensor

from gndpo.errors import UserError
from gndpo.scores import Scores
from gndpo.signal import Match, Signal
from gndpo.stats import over_scope, quantile


def va_opd(scores: Scores, *, tau: float, lam: float, top: float) -> Signal:
    """The mean over the prompts of sum_i w_i [lam mean_{top} KL + (1 - lam) mean_{rest} KL], KL =
    KL(pi_S || pi_T) of a token, nats, i the answers of a prompt.

    a = max(log pi_T(y) - log pi_T(y | coarse image), 0) is a token's visual advantage; w_i the
    softmax over the prompt's answers of z_i / tau, z_i the z-score (population) of the answer's
    mean a; top the tokens with a above its (1 - top)-quantile in the answer. A part without
    tokens counts 0. The weights are made for aggregation=sequence_mean_token_mean. tau = inf with
    lam = top = 0, or with lam the share of tokens that are in the top, is full_kl.
    """
    if not (tau > 0 and 0 <= lam <= 1 and 0 <= top <= 1):
        raise UserError(
            f"tau={tau}, lam={lam}, top={top}: tau must be larger than 0, the others in 0..1"
        )
    a_BT = (scores.teacher.logp_BT - scores.teacher_degraded.logp_BT).clamp(min=0)
    level_BT = over_scope(scores, a_BT, scores.mask_BT, "sequence", partial(quantile, q=1 - top))
    mask_BT = scores.mask_BT.to(a_BT.dtype)
    top_BT = mask_BT * (a_BT > level_BT)
    length_B1 = mask_BT.sum(-1, keepdim=True).clamp_min(1)
    answer_B1 = answer_weights(a_BT.sum(-1) / length_B1[:, 0], scores.group_B, tau)[:, None]
    share_BT = lam * mean_weights(top_BT) + (1 - lam) * mean_weights(mask_BT - top_BT)
    weight_BT = len(a_BT) / len(torch.unique(scores.group_B)) * answer_B1 * length_B1 * share_BT
    match = Match("teacher", weight_BT, {"teacher": 1.0})
    notes = {"visual_advantage": a_BT, "top": top_BT}
    return Signal(torch.zeros_like(a_BT), (match,), notes)


def answer_weights(mean_B: Tensor, group_B: Tensor, tau: float) -> Tensor:
    """softmax(z / tau) within each group, [B]; a deviation below 1e-6 nats is taken as 1e-6."""
    same_BB = group_B[:, None] == group_B
    G_B = same_BB.sum(-1)
    centred_B = mean_B - (same_BB * mean_B).sum(-1) / G_B
    std_B = ((same_BB * centred_B.square()).sum(-1) / G_B).sqrt().clamp_min(1e-6)
    z_BB = (centred_B / std_B / tau).expand_as(same_BB)
    return z_BB.masked_fill(~same_BB, -torch.inf).softmax(-1).diagonal()


def mean_weights(of_BT: Tensor) -> Tensor:
    """What a token counts in the mean over the answer's tokens `of_BT` (0 or 1), [B, T]."""
    return of_BT / of_BT.sum(-1, keepdim=True).clamp_min(1)
