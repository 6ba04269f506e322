"""Small pure functions that strategies share. Everything in nats; x_BT is [B, T], x_N the pooled
valid values."""

import torch
from torch import Tensor

from gndpo.errors import UserError
from gndpo.scores import Scores


def log_ratio(scores: Scores) -> Tensor:
    """d = log pi_T(y) - log pi_S(y), [B, T]: the one-sample (k1) estimate of minus the reverse
    KL. Exactly 0 at tokens that the student did not write: there it estimates nothing."""
    return (scores.teacher.logp_BT - scores.student.logp_BT) * scores.own_BT


def clamp_abs(x_BT: Tensor, limit: float | None) -> Tensor:
    """clip(x, -limit, +limit); None leaves x as it is."""
    if limit is not None and not limit > 0:
        raise UserError(f"clamp={limit} must be larger than 0, or null")
    return x_BT if limit is None else x_BT.clamp(-limit, limit)


def moments(x_N: Tensor, eps: float = 1e-8) -> tuple[Tensor, Tensor]:
    """Mean and unbiased variance: mu = sum x / (N + eps), s2 = sum (x - mu)^2 / (N + eps) * N /
    (N - 1)."""
    N = len(x_N)
    if N < 2:
        raise UserError(
            f"a variance needs at least 2 valid answer tokens in a step, this one has {N}"
        )
    mean = x_N.sum() / (N + eps)
    return mean, (x_N - mean).square().sum() / (N + eps) * N / (N - 1)


def quantile(x_N: Tensor, q: float) -> Tensor:
    """Linear interpolation between order statistics, as numpy's default; no limit on N."""
    ordered = x_N.sort().values
    position = q * (len(x_N) - 1)
    low = int(position)
    high = min(low + 1, len(x_N) - 1)
    return torch.lerp(ordered[low], ordered[high], position - low)
