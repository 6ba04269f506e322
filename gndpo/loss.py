"""The loss of a few prompts, its tokens weighted by denominators that were fixed for the whole
minibatch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from gndpo.matches import divergence
from gndpo.pieces import Piece
from gndpo.rows import LogProbs, Rows, scatter, wide
from gndpo.scores import Scores
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
    index_N = piece.tokens(scores.mask_BT)
    terms: list[Tensor] = []
    parts: dict[str, Tensor] = {}
    for view, rows in current.items():
        matches = [match for match in signal.matches if match.view == view]
        reinforced = view == "student" and bool(advantage_BT.any())
        take = recomputed if reinforced or not matches else at_once
        logp_N, total, sum_M = take(rows, matches, scores, index_N, weight_BT[mask_BT])
        terms.append(total)
        parts |= {match.name: sum_M[i] for i, match in enumerate(matches)}
        if view == "student":
            logp_BT = scatter(logp_N, mask_BT)
    loss_BT, clipped_BT = surrogate(logp_BT, old_BT, advantage_BT, mask_BT)
    parts["surrogate"] = (weight_BT * loss_BT * mask_BT).sum()
    return Loss(
        total=torch.stack([parts["surrogate"], *terms]).sum(),
        parts={name: part.detach() for name, part in parts.items()},
        ratio_max=(logp_BT - old_BT).detach().exp()[mask_BT].max(),
        clipped=(clipped_BT * mask_BT).sum().detach(),
        tokens=len(index_N),
    )


def chunk_loss(
    head: LogProbs,
    hidden_nH: Tensor,
    matches: Sequence[Match],
    scores: Scores,
    index_n: Tensor,
    weight_n: Tensor,
) -> tuple[Tensor, Tensor]:
    """Of a few rows: log-probabilities of the sampled tokens [n], and every match's weighted sum
    [M]. index_n: which of the step's valid tokens they are."""
    logp_nV = head.log_probs(hidden_nH)
    sums = [logp_nV.new_zeros(())]
    for match in matches:
        own_n = weight_n * scores.pool(match.weight_BT)[index_n]
        sums.append((own_n * divergence(logp_nV, match, scores, index_n)).sum())
    ids_n = scores.pool(scores.ids_BT)[index_n]
    return logp_nV.gather(-1, ids_n[:, None])[:, 0], torch.stack(sums)[1:]


Terms = tuple[Tensor, Tensor, Tensor]
"""Log-probabilities of the sampled tokens [N]; the matches' sum, with gradient; each sum [M]."""


def recomputed(
    rows: Rows, matches: Sequence[Match], scores: Scores, index_N: Tensor, weight_N: Tensor
) -> Terms:
    """A chunk of rows at a time. With more than one the head is computed again in the backward
    pass: memory grows with the chunk, not with N*V."""
    chunks = rows.chunks()
    found: list[Any] = []
    for part in chunks:
        given = rows.head, rows.hidden_NH[part], matches, scores, index_N[part], weight_N[part]
        again = len(chunks) > 1
        found.append(
            checkpoint(chunk_loss, *given, use_reentrant=False) if again else chunk_loss(*given)
        )
    logp, sums = zip(*found, strict=True)
    sum_M = torch.stack(sums).sum(0)
    return torch.cat(logp), sum_M.sum(), sum_M


def at_once(
    rows: Rows, matches: Sequence[Match], scores: Scores, index_N: Tensor, weight_N: Tensor
) -> Terms:
    """The same, each chunk's gradient taken while the chunk is there: no head is computed twice.
    The log-probabilities carry none, so this is for views that only matches pull."""
    inputs = [rows.hidden_NH, *(x for x in rows.head.weights if x.requires_grad)]
    slopes = [x.new_zeros(x.shape, dtype=wide(x.dtype)) for x in inputs]
    logp, sums = [], []
    for part in rows.chunks():
        hidden_nH = rows.hidden_NH[part].detach().requires_grad_()
        logp_n, sum_M = chunk_loss(
            rows.head, hidden_nH, matches, scores, index_N[part], weight_N[part]
        )
        own, *others = torch.autograd.grad(sum_M.sum(), [hidden_nH, *inputs[1:]])
        slopes[0][part] = own
        for slope, x in zip(slopes[1:], others, strict=True):
            slope += x
        logp.append(logp_n.detach())
        sums.append(sum_M.detach())
    sum_M = torch.stack(sums).sum(0)
    total: Tensor = Known.apply(sum_M.sum(), slopes, *inputs)  # type: ignore[no-untyped-call]
    return torch.cat(logp), total, sum_M


class Known(torch.autograd.Function):
    """A number whose gradients are there already: the backward pass scales them."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, slopes: list[Tensor], *inputs: Tensor) -> Tensor:
        ctx.slopes = slopes
        return value.clone()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        slopes, ctx.slopes = ctx.slopes, None
        return None, None, *(x.mul_(g) for x in slopes)
