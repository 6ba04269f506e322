"""The loss of a few prompts, its tokens weighted by denominators that were fixed for the whole
minibatch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from gndpo.matches import divergence
from gndpo.rows import Rows, scatter
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
    answers: slice,
) -> Loss:
    """sum_BT weight * (surrogate + sum of matches) over the rows `answers`; weight_BT belongs to
    these rows alone.

    current: the trained views' distributions at these rows' valid tokens, with gradient.
    """
    mask_BT = scores.mask_BT[answers]
    first = int(scores.mask_BT[: answers.start].sum())
    weight_N = weight_BT[mask_BT]
    parts: dict[str, Tensor] = {}
    for view, rows in current.items():
        matches = [match for match in signal.matches if match.view == view]
        logp_N, terms_NM = rows_loss(rows, matches, scores, first)
        sums = (weight_N[:, None] * terms_NM).sum(0)
        parts |= {match.name: sums[i] for i, match in enumerate(matches)}
        if view == "student":
            logp_BT = scatter(logp_N, mask_BT)
    old_BT = scores.student.logp_BT[answers]
    loss_BT, clipped_BT = surrogate(logp_BT, old_BT, signal.advantage_BT[answers], mask_BT)
    parts["surrogate"] = (weight_BT * loss_BT * mask_BT).sum()
    return Loss(
        total=torch.stack(list(parts.values())).sum(),
        parts={name: part.detach() for name, part in parts.items()},
        ratio_max=(logp_BT - old_BT).detach().exp()[mask_BT].max(),
        clipped=(clipped_BT * mask_BT).sum().detach(),
        tokens=len(weight_N),
    )


def rows_loss(
    rows: Rows, matches: list[Match], scores: Scores, first: int
) -> tuple[Tensor, Tensor]:
    """Log-probabilities of the sampled tokens [N] and every match's weighted divergence [N, M], a
    chunk of rows at a time.

    With more than one chunk the head is recomputed in the backward pass: memory grows with the
    chunk, not with N*V.
    """
    chunks = rows.chunks()

    def one(hidden_nH: Tensor, index_n: Tensor) -> tuple[Tensor, Tensor]:
        logp_nV = rows.head.log_probs(hidden_nH)
        ids_n = scores.ids_BT[scores.mask_BT][index_n]
        terms = [
            match.weight_BT[scores.mask_BT][index_n] * divergence(logp_nV, match, scores, index_n)
            for match in matches
        ]
        terms_nM = torch.stack(terms, -1) if terms else logp_nV.new_zeros(len(index_n), 0)
        return logp_nV.gather(-1, ids_n[:, None])[:, 0], terms_nM

    results: list[Any] = []
    for part in chunks:
        hidden_nH = rows.hidden_NH[part]
        index_n = first + torch.arange(
            part.start, part.start + len(hidden_nH), device=hidden_nH.device
        )
        again = len(chunks) > 1
        results.append(
            checkpoint(one, hidden_nH, index_n, use_reentrant=False)
            if again
            else one(hidden_nH, index_n)
        )
    logp_N, terms_NM = (torch.cat(x) for x in zip(*results, strict=True))
    return logp_N, terms_NM
