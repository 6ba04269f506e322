"""Divergence of the current student from a match's target, at a few valid tokens at a time:
[B, T, V] never exists."""

import functools
import math
from collections.abc import Callable

import torch
from torch import Tensor

from gndpo.errors import UserError
from gndpo.rows import NEVER
from gndpo.scores import Scores
from gndpo.signal import Match

Read = Callable[[str], Tensor]
"""A view's log-probabilities at n tokens up to a constant per row, [n, V]."""


def reader(scores: Scores, index_n: Tensor) -> Read:
    """Of these valid tokens; a view that several ask for is read once."""
    return functools.cache(lambda view: scores.views[view].rows.unnormalized(index_n))


def spans_vocabulary(match: Match) -> bool:
    """Whether a match compares whole distributions, not a few ids."""
    top_k = match.support is not None and isinstance(match.support[1], int)
    return not top_k and match.target.keys() != {"sampled"}


def ids_of(match: Match, scores: Scores, index_N: Tensor) -> Tensor:
    """The ids that a match on a few compares at the valid tokens `index_N`, [N, K]."""
    if match.support is None:
        return scores.own(scores.ids_BT)[index_N, None]
    view, k = match.support
    return scores.own(scores.views[view].top_k(int(k))[0])[index_N]


def on_ids(logp_NK: Tensor, match: Match, scores: Scores, index_N: Tensor) -> Tensor:
    """D(student, target) over `ids_of` the match, nats [N]; gradient flows through `logp_NK`, the
    target is constant."""
    if match.support is None:
        return -logp_NK[:, 0]
    logq_NK = target_on_top_k(match, scores, index_N)
    renormalize_target, renormalize_student = match.renormalize
    if renormalize_target:
        logq_NK = logq_NK.log_softmax(-1)
    if renormalize_student:
        logp_NK = logp_NK.log_softmax(-1)
    fixed_NK = logp_NK.detach()
    D_N, pull_NK = divergence(fixed_NK, fixed_NK.exp(), logq_NK, match.direction)
    return D_N + (pull_NK * (logp_NK - fixed_NK)).sum(-1)


def on_vocabulary(
    logp_nV: Tensor, match: Match, scores: Scores, index_n: Tensor, read: Read
) -> tuple[Tensor, Tensor]:
    """D(student, target) over all of V, nats [n], both sides at the match's temperature, and its
    gradient with respect to the student's logits, [n, V]."""
    logq_nV = target_on_vocabulary(match, scores, index_n, read)
    tau = match.temperature
    if tau != 1:
        logp_nV = (logp_nV / tau).log_softmax(-1)
    normalizer_nV = p_nV = logp_nV.exp()
    if match.support is not None:
        renormalize_target, renormalize_student = match.renormalize
        unlikely_nV = implausible(*match.support, read)
        logq_nV = without(logq_nV, unlikely_nV, renormalize=renormalize_target)
        logp_nV = without(logp_nV, unlikely_nV, renormalize=renormalize_student)
        p_nV = logp_nV.exp()
        normalizer_nV = p_nV if renormalize_student else normalizer_nV
    D_n, pull_nV = divergence(logp_nV, p_nV, logq_nV, match.direction)
    slope_nV = pull_nV.addcmul_(normalizer_nV, pull_nV.sum(-1, keepdim=True), value=-1)
    return tau**2 * D_n, slope_nV.mul_(tau) if tau != 1 else slope_nV


def implausible(view: str, least: float, read: Read) -> Tensor:
    """Ids less than `least` times as likely as the view's likeliest, bool [n, V]."""
    score_nV = read(view)
    return score_nV < score_nV.amax(-1, keepdim=True) + math.log(least)


def without(logp_nV: Tensor, left_out_nV: Tensor, *, renormalize: bool) -> Tensor:
    logp_nV = logp_nV.masked_fill(left_out_nV, NEVER)
    return logp_nV.log_softmax(-1) if renormalize else logp_nV


def divergence(
    logp_nK: Tensor, p_nK: Tensor, logq_nK: Tensor, direction: str | float
) -> tuple[Tensor, Tensor]:
    """D over the ids given, nats [n], and its pull d D / d log p, [n, K]. Reverse pulls with
    p (log p - log q): the same gradient over a whole distribution, and over a part of it free of
    the constant p that makes truncated reverse KL push a token down unless q > e p."""
    if direction == "reverse":
        pull_nK = (logp_nK - logq_nK).mul_(p_nK)
        return pull_nK.sum(-1), pull_nK
    if direction == "forward":
        q_nK = logq_nK.exp()
        return (logq_nK - logp_nK).mul_(q_nK).sum(-1), q_nK.neg_()
    b = float(direction)
    logm_nK = torch.logaddexp(logq_nK + math.log(b), logp_nK + math.log(1 - b))
    pull_nK = (logp_nK - logm_nK).mul_(p_nK).mul_(1 - b)
    rest_n = b * (logq_nK - logm_nK).mul_(logq_nK.exp()).sum(-1)
    return pull_nK.sum(-1) + rest_n, pull_nK


def target_on_vocabulary(match: Match, scores: Scores, index_n: Tensor, read: Read) -> Tensor:
    """log q over V, [n, V]: the views' log-probabilities, mixed, at the match's temperature,
    normalized."""
    parts = {view: read(view) for view in match.target}
    if match.plain_ids:  # here constants count, which elsewhere the normalization takes away
        parts = {view: score_nV.log_softmax(-1) for view, score_nV in parts.items()}
    mixed = [times(c, parts[view], scores, index_n) for view, c in match.target.items()]
    mixed_nV = functools.reduce(torch.add, mixed)
    if match.plain_ids:
        plain = list(match.plain_ids)
        mixed_nV[:, plain] = next(iter(parts.values()))[:, plain]
    if match.temperature != 1:
        mixed_nV = mixed_nV / match.temperature
    return mixed_nV.log_softmax(-1)


def target_on_top_k(match: Match, scores: Scores, index_n: Tensor) -> Tensor:
    """log q on the support, [n, K], not yet renormalized."""
    assert match.support is not None
    owner, k = match.support[0], int(match.support[1])
    total = torch.zeros(())
    for view, c in match.target.items():
        source = scores.views[view]
        logp_BTK = source.top_k(k)[1] if view == owner else source.at_top_k(owner, k)
        total = total + times(c, scores.own(logp_BTK)[index_n], scores, index_n)
    return total


def times(c: float | Tensor, x_nK: Tensor, scores: Scores, index_n: Tensor) -> Tensor:
    """A view's part in a mixture."""
    if isinstance(c, Tensor):
        return scores.own(c)[index_n, None] * x_nK
    return x_nK if c == 1 else c * x_nK


def touch(match: Match, scores: Scores) -> None:
    """Read what an update will read, so that a dry run records it; refuse what it cannot do."""
    b = match.direction
    if b not in ("reverse", "forward") and not (isinstance(b, int | float) and 0 < b < 1):
        raise UserError(
            f"direction={b} is unknown; choose reverse, forward or a number between 0 and 1"
        )
    if not match.temperature > 0:
        raise UserError(f"temperature={match.temperature} must be larger than 0")
    if match.support is not None:
        touch_support(match, scores)
    first = torch.zeros(1, dtype=torch.long)
    if spans_vocabulary(match):
        for view in match.target:
            assert scores.views[view].rows
    elif match.support is not None:
        target_on_top_k(match, scores, first)


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
