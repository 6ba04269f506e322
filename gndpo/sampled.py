"""Log-probabilities of a few ids per token, and their gradient, without a matrix of all logits."""

from typing import Any

import torch
from torch import Tensor

from gndpo.rows import WIDTH, Distributions, LogProbs, Patchwork, rows_at_once, slices, zeros


def logp_at(rows: Distributions, ids_NK: Tensor) -> Tensor:
    """log p of K ids at every token, nats, [N, K]."""
    if isinstance(rows, Patchwork):
        parts = [
            logp_at(part, ids_NK[place])
            for part, place in zip(rows.parts, rows.places, strict=True)
        ]
        return torch.cat(parts)[torch.cat(rows.places).argsort()]
    step = rows_at_once(rows.chunk, rows.V) * rows.V // min(rows.V, WIDTH)
    found = [
        LogpAt.apply(  # type: ignore[no-untyped-call]
            rows.head, ids_NK[part], rows.hidden_NH[part], *rows.head.weights
        )
        for part in slices(len(ids_NK), step)
    ]
    return torch.cat(found)


class LogpAt(torch.autograd.Function):
    """log p of K ids per token = score - logsumexp of all scores, nats, [N, K], some ids of the
    vocabulary at a time.

    Of the forward pass only the logsumexp is kept; the backward pass makes the scores anew:
    d/dscore = sum_k g_k (1[id_k] - p).
    """

    @staticmethod
    def forward(
        ctx: Any, head: LogProbs, ids_NK: Tensor, hidden_NH: Tensor, *weights: Tensor
    ) -> Tensor:
        found_NK, lse_N1 = torch.zeros(()), torch.tensor(-torch.inf)
        for ids in slices(head.size(hidden_NH), WIDTH):
            score_Nv = head.unnormalized(hidden_NH, ids)
            lse_N1 = torch.logaddexp(lse_N1, score_Nv.logsumexp(-1, keepdim=True))
            place_NK, inside_NK = within(ids_NK, ids)
            found_NK = found_NK + score_Nv.gather(-1, place_NK).where(inside_NK, 0.0)
        ctx.head = head
        ctx.save_for_backward(ids_NK, lse_N1, hidden_NH, *weights)
        return found_NK - lse_N1

    @staticmethod
    def backward(ctx: Any, g_NK: Tensor) -> Any:
        ids_NK, lse_N1, hidden_NH, *weights = ctx.saved_tensors
        gradients = zeros((hidden_NH, *weights))
        for ids in slices(ctx.head.size(hidden_NH), WIDTH):
            p_Nv = (ctx.head.unnormalized(hidden_NH, ids) - lse_N1).exp_()
            slope_Nv = p_Nv.mul_(-g_NK.sum(-1, keepdim=True))
            place_NK, inside_NK = within(ids_NK, ids)
            slope_Nv.scatter_add_(-1, place_NK, g_NK * inside_NK)
            ctx.head.pull_back(slope_Nv, hidden_NH, ids, gradients)
        return None, None, *gradients


def within(ids_NK: Tensor, part: slice) -> tuple[Tensor, Tensor]:
    """Where ids stand in a part of the vocabulary, and which of them stand there at all."""
    place_NK = ids_NK - part.start
    last = part.stop - part.start - 1
    return place_NK.clamp(0, last), (place_NK >= 0) & (place_NK <= last)
