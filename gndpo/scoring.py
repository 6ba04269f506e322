"""Scores of the answers: one forward per view, group by group; only what the strategy reads is
kept."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from gndpo.pieces import Portion, pieces
from gndpo.prompts import Prompts
from gndpo.reads import Reads
from gndpo.rollout import Answers
from gndpo.rows import Distributions, Rows, joined
from gndpo.sources import Source, read
from gndpo.views import Request, View, make_views


@torch.no_grad()
def score(
    views: Mapping[str, Source],
    prompts: Prompts,
    answers: Answers,
    reads: Reads,
    portion: Portion,
) -> dict[str, View]:
    """The views that `reads` names, each with the quantities it asks for."""
    G = len(answers.ids_BT) // len(prompts)
    known: dict[str, list[View]] = {name: [] for name in reads.requests}
    kept: dict[str, list[Distributions]] = {name: [] for name in reads.whole}
    for piece in pieces(0, len(prompts), G, portion.micro, portion.answers):
        ids_bT, mask_bT = answers.ids_BT[piece.rows], answers.mask_BT[piece.rows]
        rows = {
            name: read(views[name], prompts, piece, answers, portion.chunk)
            for name in reads.requests
        }
        for name, view in make_views(ids_bT, mask_bT, rows).items():
            for request in reads.requests[name]:
                view.read(request)
            known[name].append(view)
        for name in reads.whole:
            kept[name].append(rows[name])
    ids_BT, mask_BT, chunk = answers.ids_BT, answers.mask_BT, portion.chunk
    return {
        name: View(name, ids_BT, mask_BT, whole(kept.get(name), chunk), merge(parts))
        for name, parts in known.items()
    }


def whole(blocks: Sequence[Distributions] | None, chunk: int) -> Distributions | None:
    """The kept distributions, under the head as it is now."""
    if blocks is None:
        return None
    rows = joined(blocks, chunk)
    return replace(rows, head=rows.head.frozen()) if isinstance(rows, Rows) else rows


def merge(parts: Sequence[View]) -> dict[Request, Tensor]:
    """What the microbatches' views know, one below the other."""
    return {
        request: torch.cat([part.known[request] for part in parts]) for request in parts[0].known
    }
