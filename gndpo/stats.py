"""Small pure functions that strategies share. Everything in nats; x_BT is [B, T], x_N the pooled
valid values."""

import functools
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from gndpo.errors import UserError
from gndpo.scores import Scores


def log_ratio(scores: Scores) -> Tensor:
    """d = log pi_T(y) - log pi_S(y), [B, T]: the one-sample (k1) estimate of minus the reverse
    KL. Exactly 0 at tokens that the student did not write: there it estimates nothing."""
    return (scores.teacher.logp_BT - scores.student.logp_BT) * scores.own_BT


def clamp_abs(x_BT: Tensor, limit: float | None, knob: str = "clamp") -> Tensor:
    """clip(x, -limit, +limit); None leaves x as it is. knob: what a refusal calls the limit."""
    if limit is not None and not limit > 0:
        raise UserError(f"{knob}={limit} must be larger than 0, or null")
    return x_BT if limit is None else x_BT.clamp(-limit, limit)


def quantile(x_N: Tensor, q: float) -> Tensor:
    """Linear interpolation between order statistics, as numpy's default; no limit on N."""
    return quantiles(x_N, (q,))[0]


def quantiles(x_N: Tensor, qs: Sequence[float]) -> list[Tensor]:
    """Several of them, sorted once; beside an infinite value the nearer one."""
    ordered = x_N.sort().values
    found = []
    for q in qs:
        position = q * (len(x_N) - 1)
        low = int(position)
        high = min(low + 1, len(x_N) - 1)
        share = position - low
        between = torch.lerp(ordered[low], ordered[high], share)
        nearest = ordered[low if share < 0.5 else high]
        found.append(between.where(between.isfinite(), nearest))
    return found


SCOPES = ("step", "group", "sequence")
"""Over what a statistic is taken: all answers of a step, those of one prompt, one answer."""


def over_scope(
    scores: Scores,
    x_BT: Tensor,
    of_BT: Tensor,
    scope: str,
    statistic: Callable[[Tensor], Tensor],
) -> Tensor:
    """A number per cell of the scope, back at every token of the cell, [B, T]. statistic: the
    cell's values at `of_BT` (bool), [n], -> a scalar; cells without any keep 0."""
    if scope not in SCOPES:
        raise UserError(f"scope={scope} is unknown; choose one of {', '.join(SCOPES)}")
    if scope == "step":
        x_N = scores.pool(x_BT, of_BT)
        return (statistic(x_N) if len(x_N) else x_BT.new_zeros(())).expand_as(x_BT)
    B = len(x_BT)
    cell_B = scores.group_B if scope == "group" else torch.arange(B, device=x_BT.device)
    value_B = x_BT.new_zeros(B)
    for cell in torch.unique(cell_B):
        inside_BT = of_BT & (cell_B == cell)[:, None]
        if inside_BT.any():
            value_B = value_B.where(cell_B != cell, statistic(x_BT[inside_BT]))
    return value_B[:, None].expand_as(x_BT)


def top_share(scores: Scores, x_BT: Tensor, share: float, scope: str) -> Tensor:
    """The student's tokens at or above the (1 - share) quantile of x over its tokens of the
    scope, bool [B, T]."""
    least_BT = over_scope(scores, x_BT, scores.own_BT, scope, lambda x_n: quantile(x_n, 1 - share))
    return scores.own_BT & (x_BT >= least_BT)


def visual_gate(scores: Scores, q: float, scope: str) -> Tensor:
    """1 at tokens whose visual dependency VDS = KL(q_I || q_x), nats, is above its q-quantile over
    the scope, [B, T]."""
    if not 0 <= q <= 1:
        raise UserError(f"the quantile {q} of visual dependency must lie in 0..1")
    visual_BT = scores.teacher.kl("teacher_text")
    level_BT = over_scope(
        scores, visual_BT, scores.mask_BT, scope, functools.partial(quantile, q=q)
    )
    return ((visual_BT > level_BT) & scores.mask_BT).to(visual_BT.dtype)


Sums = Mapping[str, Tensor]
"""What mean and variance are made of: count, mean, squares (sum of squared deviations from it)."""


def pooled_sums(x_N: Tensor, eps: float) -> Sums:
    """N, mu = sum x / (N + eps) and sum (x - mu)^2."""
    N = len(x_N)
    mean = x_N.sum() / (N + eps)
    return {"count": torch.full_like(mean, N), "mean": mean, "squares": (x_N - mean).square().sum()}


def merged_sums(old: Sums, new: Sums, decay: float) -> Sums:
    """The sums of both samples as one, a value of the old one counted `decay` times."""
    old_count = decay * old["count"]
    count = old_count + new["count"]
    share, shift = new["count"] / count, new["mean"] - old["mean"]
    return {
        "count": count,
        "mean": old["mean"] + share * shift,
        "squares": decay * old["squares"] + new["squares"] + old_count * share * shift.square(),
    }


def variance(sums: Sums, *, bessel: bool, eps: float) -> Tensor:
    """s2 = squares / (N + eps), with `bessel` times N / (N - 1)."""
    N = sums["count"]
    biased = sums["squares"] / (N + eps)
    return biased * N / (N - 1) if bessel else biased


def moments(
    scores: Scores, x_BT: Tensor, scope: str | float, *, bessel: bool, eps: float
) -> tuple[Tensor, Tensor, Sums]:
    """Mean and variance of x over the student's tokens of the scope, at every token, [B, T] each,
    and what to carry to the next step.

    scope: one of SCOPES, or a decay in (0, 1): all steps so far, a token of n steps ago counted
    decay^n times. The counts decay with the sums, so nothing is biased towards 0 and the first
    step equals "step". A group or sequence of one token has no variance; it gets 1, so that
    dividing by its root changes nothing.
    """
    if scope not in SCOPES and not (isinstance(scope, float) and 0 < scope < 1):
        raise UserError(
            f"scope={scope} is unknown; choose one of {', '.join(SCOPES)} or a decay in (0, 1)"
        )
    if scope in ("group", "sequence"):
        over_cells = functools.partial(over_scope, scores, x_BT, scores.own_BT, scope)
        mean_BT = over_cells(lambda x_n: pooled_sums(x_n, eps)["mean"])
        variance_BT = over_cells(lambda x_n: cell_variance(x_n, bessel=bessel, eps=eps))
        return mean_BT, variance_BT, {}
    x_N = scores.pool(x_BT, scores.own_BT)
    if len(x_N) == 0:  # nobody's tokens to whiten: others wrote this step
        zero_BT = torch.zeros_like(x_BT)
        return zero_BT, torch.ones_like(x_BT), dict(scores.carry)
    if len(x_N) < 2:
        raise UserError(
            "a variance needs at least 2 valid answer tokens of the student in a step, this one "
            f"has {len(x_N)}"
        )
    sums = pooled_sums(x_N, eps)
    carry: Sums = {}
    if isinstance(scope, float):
        old = {name: scores.carry.get(name, torch.zeros_like(x)) for name, x in sums.items()}
        sums = carry = merged_sums(old, sums, scope)
    s2 = variance(sums, bessel=bessel, eps=eps)
    return sums["mean"].expand_as(x_BT), s2.expand_as(x_BT), carry


def cell_variance(x_n: Tensor, *, bessel: bool, eps: float) -> Tensor:
    """The variance of a cell's values; 1 where there is one value."""
    if len(x_n) < 2:
        return x_n.new_ones(())
    return variance(pooled_sums(x_n, eps), bessel=bessel, eps=eps)
