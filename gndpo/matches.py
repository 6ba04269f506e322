"""Divergence of the current student from a match's target, computed on a few valid tokens at a
time: [B, T, V] never exists."""

import math

import torch
from torch import Tensor

from gndpo.errors import UserError
from gndpo.rows import NEVER
from gndpo.scores import Scores
from gndpo.signal import Match

Compared = tuple[Tensor, Tensor, Tensor | None]
"""log p and log q of the ids that are compared, and which of these count; None: all."""


def divergence(logp_nV: Tensor, match: Match, scores: Scores, index_n: Tensor) -> Tensor:
    """D(student, target), nats [n], at the valid tokens `index_n`; gradient flows through
    `logp_nV`, the target is constant."""
    if match.target.keys() == {"sampled"}:
        ids_n = scores.ids_BT[scores.mask_BT][index_n]
        return -logp_nV.gather(-1, ids_n[:, None])[:, 0]
    if match.support is not None and isinstance(match.support[1], int):
        logp_nK, logq_nK, inside_nK = on_top_k(logp_nV, match, scores, index_n)
    else:
        logp_nK, logq_nK, inside_nK = on_vocabulary(logp_nV, match, scores, index_n)
    if inside_nK is not None:
        renormalize_target, renormalize_student = match.renormalize
        if renormalize_target:
            logq_nK = logq_nK.masked_fill(~inside_nK, NEVER).log_softmax(-1)
        if renormalize_student:
            logp_nK = logp_nK.masked_fill(~inside_nK, NEVER).log_softmax(-1)
    terms_nK = terms(logp_nK, logq_nK, match.direction)
    if inside_nK is not None:
        terms_nK = terms_nK * inside_nK
    return match.temperature**2 * terms_nK.sum(-1)


def on_top_k(logp_nV: Tensor, match: Match, scores: Scores, index_n: Tensor) -> Compared:
    """log p, log q and which ids count, on a view's k likeliest ids, [n, K]."""
    assert match.support is not None
    view, k = match.support
    ids_nK = scores.views[view].top_k(int(k))[0][scores.mask_BT][index_n]
    logp_nK = logp_nV.gather(-1, ids_nK)
    return logp_nK, target_on_top_k(match, scores, index_n), torch.ones_like(ids_nK).bool()


def on_vocabulary(logp_nV: Tensor, match: Match, scores: Scores, index_n: Tensor) -> Compared:
    """The same over all of V, where all ids count (None) unless the support says which, both sides
    at the match's temperature."""
    logq_nV = target_on_vocabulary(match, scores, index_n)
    inside_nV = None
    if match.support is not None:
        view, least = match.support
        owner_nV = scores.views[view].rows.log_probs(index_n)
        inside_nV = owner_nV >= owner_nV.max(-1, keepdim=True).values + math.log(least)
    if match.temperature != 1:
        logp_nV = (logp_nV / match.temperature).log_softmax(-1)
    return logp_nV, logq_nV, inside_nV


def terms(logp_nK: Tensor, logq_nK: Tensor, direction: str | float) -> Tensor:
    """The divergence's terms, [n, K]. Reverse uses p (sg[log p] - log q): the same gradient over a
    whole distribution, and over a part of it free of the constant that makes truncated reverse
    KL push a token down unless q > e p."""
    p_nK = logp_nK.exp()
    if direction == "reverse":
        return p_nK * (logp_nK.detach() - logq_nK)
    q_nK = logq_nK.exp()
    if direction == "forward":
        return q_nK * (logq_nK - logp_nK)
    b = float(direction)
    logm_nK = torch.logaddexp(logq_nK + math.log(b), logp_nK + math.log(1 - b))
    return b * q_nK * (logq_nK - logm_nK) + (1 - b) * p_nK * (logp_nK - logm_nK)


@torch.no_grad()
def target_on_vocabulary(match: Match, scores: Scores, index_n: Tensor) -> Tensor:
    """log q over V, [n, V]: the views' log-probabilities, mixed, at the match's temperature,
    normalized."""
    (first, c), *others = match.target.items()
    first_nV = scores.views[first].rows.log_probs(index_n)
    if not others and isinstance(c, float | int) and c == match.temperature:
        return first_nV
    mixed_nV = coefficient(c, scores, index_n) * first_nV
    for view, c in others:
        mixed_nV += coefficient(c, scores, index_n) * scores.views[view].rows.log_probs(index_n)
    plain = list(match.plain_ids)
    mixed_nV[:, plain] = first_nV[:, plain]
    return (mixed_nV / match.temperature).log_softmax(-1)


def target_on_top_k(match: Match, scores: Scores, index_n: Tensor) -> Tensor:
    """log q on the support, [n, K], not yet renormalized."""
    assert match.support is not None
    owner, k = match.support[0], int(match.support[1])
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
    if not match.temperature > 0:
        raise UserError(f"temperature={match.temperature} must be larger than 0")
    if match.support is not None:
        touch_support(match, scores)
    if match.target.keys() != {"sampled"}:
        first = torch.zeros(1, dtype=torch.long)
        top_k = match.support is not None and isinstance(match.support[1], int)
        (target_on_top_k if top_k else target_on_vocabulary)(match, scores, first)


def touch_support(match: Match, scores: Scores) -> None:
    assert match.support is not None
    view, size = match.support
    if isinstance(size, int):
        if match.temperature != 1 or match.plain_ids:
            raise UserError(
                f"the match {match.name} has a temperature or plain_ids, which need the whole "
                f"vocabulary, not the {size} likeliest ids"
            )
        scores.views[view].top_k(size)
    elif 0 < size < 1:
        assert scores.views[view].rows
    else:
        raise UserError(f"support={size} is unknown; choose a whole number or one in (0, 1)")
