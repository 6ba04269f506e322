"""Divergence of the current student from a match's target, computed on a few valid tokens at a
time: [B, T, V] never exists."""

import math

import torch
from torch import Tensor

from gndpo.errors import UserError
from gndpo.scores import Scores
from gndpo.signal import Match


def divergence(logp_nV: Tensor, match: Match, scores: Scores, index_n: Tensor) -> Tensor:
    """D(student, target), nats [n], at the valid tokens `index_n`; gradient flows through
    `logp_nV`, the target is constant."""
    if match.target.keys() == {"sampled"}:
        ids_n = scores.ids_BT[scores.mask_BT][index_n]
        return -logp_nV.gather(-1, ids_n[:, None])[:, 0]
    renormalize_target, renormalize_student = match.renormalize
    if match.support is None:
        return distance(logp_nV, target_on_vocabulary(match, scores, index_n), match.direction)
    view, k = match.support
    ids_nK = scores.views[view].top_k(k)[0][scores.mask_BT][index_n]
    logp_nK = logp_nV.gather(-1, ids_nK)
    target_nK = target_on_support(match, scores, index_n)
    if renormalize_target:
        target_nK = target_nK.log_softmax(-1)
    if renormalize_student:
        logp_nK = logp_nK.log_softmax(-1)
    return distance(logp_nK, target_nK, match.direction)


def distance(logp_nK: Tensor, logq_nK: Tensor, direction: str | float) -> Tensor:
    """sum over K of the divergence's terms. Reverse uses p (sg[log p] - log q): the same
    gradient over a whole distribution, and over a part of it free of the constant that makes
    truncated reverse KL push a token down unless q > e p."""
    p_nK, q_nK = logp_nK.exp(), logq_nK.exp()
    if direction == "reverse":
        return (p_nK * (logp_nK.detach() - logq_nK)).sum(-1)
    if direction == "forward":
        return (q_nK * (logq_nK - logp_nK)).sum(-1)
    b = float(direction)
    logm_nK = torch.logaddexp(logq_nK + math.log(b), logp_nK + math.log(1 - b))
    terms_nK = b * q_nK * (logq_nK - logm_nK) + (1 - b) * p_nK * (logp_nK - logm_nK)
    return terms_nK.sum(-1)


def target_on_vocabulary(match: Match, scores: Scores, index_n: Tensor) -> Tensor:
    """log q over V, [n, V]: the views' log-probabilities, mixed and normalized."""
    parts = [
        coefficient(c, scores, index_n) * scores.views[view].rows.log_probs(index_n)
        for view, c in match.target.items()
    ]
    return torch.stack(parts).sum(0).log_softmax(-1).detach()


def target_on_support(match: Match, scores: Scores, index_n: Tensor) -> Tensor:
    """log q on the support, [n, K], not yet renormalized."""
    assert match.support is not None
    owner, k = match.support
    total = torch.zeros(())
    for view, c in match.target.items():
        source = scores.views[view]
        logp_BTK = source.top_k(k)[1] if view == owner else source.at_top_k(owner, k)
        total = total + coefficient(c, scores, index_n) * logp_BTK[scores.mask_BT][index_n]
    return total.detach()


def coefficient(c: float | Tensor, scores: Scores, index_n: Tensor) -> float | Tensor:
    return c[scores.mask_BT][index_n][:, None] if isinstance(c, Tensor) else c


def touch(match: Match, scores: Scores) -> None:
    """Read what `divergence` will read, so that a dry run records it; refuse what it cannot do."""
    b = match.direction
    if b not in ("reverse", "forward") and not (isinstance(b, int | float) and 0 < b < 1):
        raise UserError(
            f"direction={b} is unknown; choose reverse, forward or a number between 0 and 1"
        )
    if match.support is not None:
        view, k = match.support
        scores.views[view].top_k(k)
    if match.target.keys() != {"sampled"}:
        first = torch.zeros(1, dtype=torch.long)
        mix = target_on_vocabulary if match.support is None else target_on_support
        mix(match, scores, first)
