"""From advantages to a loss per token, and from tokens to one number.

Surrogates take the current and the old log-probabilities, nats [B, T], and give (loss_BT,
clipped_BT); gradient flows through logp_BT alone. Weights per token are fixed before the first
backward, so a loss does not depend on how a batch is split.
"""

from dataclasses import replace

import torch
from torch import Tensor

from gndpo.errors import UserError
from gndpo.scores import Scores
from gndpo.signal import Signal


def reinforce(
    logp_BT: Tensor, old_BT: Tensor, A_BT: Tensor, mask_BT: Tensor
) -> tuple[Tensor, Tensor]:
    """-A * pi / pi_old: the on-policy policy gradient, importance-corrected, without a clip."""
    return -A_BT * (logp_BT - old_BT).exp(), torch.zeros_like(logp_BT)


def ppo(
    logp_BT: Tensor,
    old_BT: Tensor,
    A_BT: Tensor,
    mask_BT: Tensor,
    *,
    clip_low: float,
    clip_high: float,
    dual_clip: float | None,
) -> tuple[Tensor, Tensor]:
    """max(-A r, -A clip(r, 1 - low, 1 + high)), r = pi / pi_old (arXiv 1707.06347).

    dual_clip c > 1: where A < 0 the loss is at most -c A (arXiv 1912.09729).
    """
    return clipped_loss((logp_BT - old_BT).exp(), A_BT, clip_low, clip_high, dual_clip)


def gspo(
    logp_BT: Tensor,
    old_BT: Tensor,
    A_BT: Tensor,
    mask_BT: Tensor,
    *,
    clip_low: float,
    clip_high: float,
) -> tuple[Tensor, Tensor]:
    """PPO's clip on the sequence's ratio s = exp(mean_t log r_t), the gradient through each token
    (arXiv 2507.18071, GSPO-token).

    log s_t = logp_t - sg[logp_t] + sg[log s], clamped above at 10 as in verl.
    """
    log_ratio_BT = (logp_BT - old_BT) * mask_BT
    log_s_B1 = log_ratio_BT.sum(-1, keepdim=True) / mask_BT.sum(-1, keepdim=True).clamp_min(1)
    ratio_BT = (logp_BT - logp_BT.detach() + log_s_B1.detach()).clamp_max(10.0).exp()
    return clipped_loss(ratio_BT, A_BT, clip_low, clip_high, None)


def clipped_loss(
    ratio_BT: Tensor, A_BT: Tensor, low: float, high: float, dual_clip: float | None
) -> tuple[Tensor, Tensor]:
    plain_BT, bounded_BT = -A_BT * ratio_BT, -A_BT * ratio_BT.clamp(1 - low, 1 + high)
    loss_BT = torch.maximum(plain_BT, bounded_BT)
    clipped_BT = bounded_BT > plain_BT
    if dual_clip is not None:
        ceiling_BT = -A_BT * dual_clip
        capped_BT = (A_BT < 0) & (loss_BT > ceiling_BT)
        loss_BT, clipped_BT = loss_BT.where(~capped_BT, ceiling_BT), clipped_BT | capped_BT
    return loss_BT, clipped_BT.to(loss_BT.dtype)


def token_weights(
    mask_BT: Tensor, aggregation: str, counts: tuple[float, float] | None = None
) -> Tensor:
    """What a token counts, [B, T]; loss = sum of weight * loss_BT. B answers of T_i tokens, N
    tokens in all: those of the mask, or `counts` where others have a part of them.

    sequence_mean_token_mean 1/(B T_i), token_mean 1/N, sequence_mean_token_sum 1/B.
    """
    mask_BT = mask_BT.double()
    length_B1 = mask_BT.sum(-1, keepdim=True).clamp_min(1)
    B, N = counts or (len(mask_BT), float(mask_BT.sum()))
    weights = {
        "sequence_mean_token_mean": mask_BT / (B * length_B1),
        "token_mean": mask_BT / max(N, 1),
        "sequence_mean_token_sum": mask_BT / B,
    }
    if aggregation not in weights:
        raise UserError(
            f"surrogate.aggregation={aggregation} is unknown; choose one of {', '.join(weights)}"
        )
    return weights[aggregation]


def corrected(signal: Signal, scores: Scores, cap: float | None) -> Signal:
    """A * min(pi_old / pi_behaviour, cap) where the student wrote: truncated importance sampling
    for an engine whose probabilities are not quite ours (Yao et al. 2025, "Your efficient RL
    framework secretly brings you off-policy RL training"; verl's rollout_is=token). Matches need
    none. None: as it is."""
    if cap is None:
        return signal
    log_weight_BT = scores.student.logp_BT - scores.behaviour_logp_BT
    weight_BT = log_weight_BT.exp().clamp_max(cap).where(scores.own_BT, 1.0)
    return replace(signal, advantage_BT=signal.advantage_BT * weight_BT)
