"""The loss of a few prompts, its tokens weighted by denominators that were fixed for the whole
minibatch."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from gndpo import ranks
from gndpo.matches import ids_of, on_ids, on_vocabulary, reader, spans_vocabulary
from gndpo.pieces import Piece
from gndpo.rows import WIDTH, Gradients, Rows, scatter, slices, zeros
from gndpo.sampled import logp_at
from gndpo.scores import STUDENT, Scores
from gndpo.signal import Match, Signal

Surrogate = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""(logp_BT, old_BT, A_BT, mask_BT) -> (loss_BT, clipped_BT)."""


@dataclass(frozen=True)
class Loss:
    """total carries the gradient; parts are its weighted terms, by name. ratio_max, clipped,
    tokens: largest importance ratio, how many tokens were clipped, of how many."""

    total: Tensor
    parts: Mapping[str, Tensor]
    ratio_max: Tensor
    clipped: Tensor
    tokens: int


@dataclass(frozen=True)
class Tokens:
    """Some of a step's valid tokens: which of them, and what each counts."""

    scores: Scores
    index_N: Tensor
    weight_N: Tensor

    def weight(self, match: Match) -> Tensor:
        """What each counts in a match, [N]."""
        return self.weight_N * self.scores.own(match.weight_BT)[self.index_N]

    def select(self, which_n: Tensor | slice) -> "Tokens":
        return replace(self, index_N=self.index_N[which_n], weight_N=self.weight_N[which_n])

    @property
    def ids_N(self) -> Tensor:
        return self.scores.own(self.scores.ids_BT)[self.index_N]


@dataclass(frozen=True)
class Terms:
    """logp_N: log-probabilities of a view's sampled tokens. The sums of its matches: of all, with
    gradient, and of each, by name."""

    logp_N: Tensor
    total: Tensor
    parts: Mapping[str, Tensor]


def answer_loss(
    current: Mapping[str, Rows],
    scores: Scores,
    signal: Signal,
    surrogate: Surrogate,
    weight_BT: Tensor,
    piece: Piece,
) -> Loss:
    """sum_BT weight * (surrogate + sum of matches) over a piece of the batch.

    current: the trained views' distributions at the piece's valid tokens, with gradient.
    """
    old_BT, mask_BT = piece.cut(scores.student.logp_BT, scores.mask_BT)
    advantage_BT, _ = piece.cut(signal.advantage_BT, scores.mask_BT)
    weight_BT, _ = piece.cut(weight_BT, scores.mask_BT)
    tokens = Tokens(scores, piece.tokens(scores.mask_BT), weight_BT[mask_BT])
    terms: list[Terms] = []
    for view, rows in current.items():
        matches = [match for match in signal.matches if match.view == view]
        if view == "student":
            terms += view_terms(rows, matches, tokens, learns=bool(advantage_BT.any()))
            logp_BT = scatter(terms[-1].logp_N, mask_BT)
        else:
            terms += view_terms(*counted(rows, matches, tokens), learns=False)
    loss_BT, clipped_BT = surrogate(logp_BT, old_BT, advantage_BT, mask_BT)
    own = (weight_BT * loss_BT * mask_BT).sum()
    parts = {name: part for x in terms for name, part in x.parts.items()}
    return Loss(
        total=torch.stack([own, *(x.total for x in terms)]).sum(),
        parts=parts | {"surrogate": own.detach()},
        ratio_max=(logp_BT - old_BT).detach().exp()[mask_BT].max(),
        clipped=(clipped_BT * mask_BT).sum().detach(),
        tokens=len(tokens.index_N),
    )


def counted(
    rows: Rows, matches: Sequence[Match], tokens: Tokens
) -> tuple[Rows, Sequence[Match], Tokens]:
    """The same without tokens that count in none of the matches; one stays where none counts."""
    counts_n = torch.stack([tokens.weight(match) for match in matches]).any(0)
    which_n = counts_n.nonzero()[:, 0] if counts_n.any() else torch.tensor([0])
    return replace(rows, hidden_NH=rows.hidden_NH[which_n]), matches, tokens.select(which_n)


def view_terms(
    rows: Rows, matches: Sequence[Match], tokens: Tokens, *, learns: bool
) -> list[Terms]:
    """A view's matches on whole distributions, then those on a few ids. The last has the
    log-probabilities, with gradient where the view `learns` by them."""
    whole = [match for match in matches if spans_vocabulary(match)]
    few = [match for match in matches if not spans_vocabulary(match)]
    terms = [over_vocabulary(rows, whole, tokens)] if whole else []
    if few or learns or not whole:
        terms.append(over_ids(rows, few, tokens))
    return terms


def over_ids(rows: Rows, matches: Sequence[Match], tokens: Tokens) -> Terms:
    """Sampled tokens and matches on a few ids: the vocabulary is read once for all of them."""
    scores, index_N = tokens.scores, tokens.index_N
    ids = [tokens.ids_N[:, None], *(ids_of(match, scores, index_N) for match in matches)]
    widths = [ids_NK.shape[-1] for ids_NK in ids]
    logp_N1, *logp = torch.split(logp_at(rows, torch.cat(ids, -1)), widths, -1)
    sums = {
        match.name: (tokens.weight(match) * on_ids(logp_NK, match, scores, index_N)).sum()
        for match, logp_NK in zip(matches, logp, strict=True)
    }
    total = sum(sums.values(), tokens.weight_N.new_zeros(()))
    return Terms(logp_N1[:, 0], total, {name: x.detach() for name, x in sums.items()})


def over_vocabulary(rows: Rows, matches: Sequence[Match], tokens: Tokens) -> Terms:
    """Matches on whole distributions, a chunk of rows at a time and each with its gradient at once:
    no [n, V] outlives its chunk, and no head is read twice."""
    inputs = (rows.hidden_NH, *rows.head.weights)
    hidden_NH, *weights = gradients = zeros(inputs)
    logp, sums = [], []
    with torch.no_grad():
        for part in rows.chunks():
            chunk = tokens.select(part)
            logp_nV = rows.log_probs(part)
            logp.append(logp_nV.gather(-1, chunk.ids_N[:, None])[:, 0])
            sum_M, slope_nV = chunk_terms(logp_nV, matches, chunk)
            sums.append(sum_M)
            own = [None if hidden_NH is None else hidden_NH[part], *weights]
            for ids in slices(rows.V, WIDTH):
                rows.head.pull_back(slope_nV[:, ids], rows.hidden_NH[part], ids, own)
    sum_M = torch.stack(sums).sum(0)
    total = Known.apply(sum_M.sum(), gradients, *inputs)  # type: ignore[no-untyped-call]
    return Terms(torch.cat(logp), total, dict(zip((x.name for x in matches), sum_M, strict=True)))


def chunk_terms(logp_nV: Tensor, matches: Sequence[Match], tokens: Tokens) -> tuple[Tensor, Tensor]:
    """The matches' weighted sums over a chunk, [M], and the gradient of their sum with respect to
    the student's logits, [n, V]."""
    scores, index_n = tokens.scores, tokens.index_N
    read = reader(scores, index_n)
    sums, slopes = [], []
    for match in matches:
        weight_n = tokens.weight(match)
        D_n, slope_nV = on_vocabulary(logp_nV, match, scores, index_n, read)
        sums.append((weight_n * D_n).sum())
        slopes.append(slope_nV.mul_(weight_n[:, None]))
    return torch.stack(sums), functools.reduce(Tensor.add_, slopes)


class Known(torch.autograd.Function):
    """A number whose gradients are known already: the one backward pass takes them and scales
    them."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, gradients: Gradients, *inputs: Tensor) -> Tensor:
        ctx.gradients = gradients
        return value.clone()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        gradients, ctx.gradients = ctx.gradients, None
        return None, None, *(None if x is None else x.mul_(g) for x in gradients)


def check_first_ratio(ratio_max: float, scores: Scores, dtype: torch.dtype) -> None:
    """Before the first update current and old are the same weights: a ratio other than 1 is a
    bug (dropout, a stale cache). Of narrow numbers the largest of many ratios says nothing."""
    others_wrote = ranks.largest(float((scores.author_BT != STUDENT).any()))
    if dtype.itemsize < 4 or others_wrote or not math.isfinite(ratio_max):
        return
    assert abs(ratio_max - 1) < 1e-3, (
        f"importance ratio {ratio_max} before the first update; it must be 1 (is dropout on?)"
    )
