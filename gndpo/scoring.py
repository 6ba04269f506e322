"""Scores of the answers: one forward per view, group by group; only what the strategy reads is
kept."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from gndpo.engines.asking import answered, ask
from gndpo.pieces import Piece, Portion, portions, spares
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
    asked = ask(views, reads, prompts, answers)  # served views are on their way
    local = [name for name in reads.requests if name not in asked]
    known: dict[str, list[View]] = {name: [] for name in reads.requests}
    kept: dict[str, list[Distributions]] = {name: [] for name in reads.whole}
    own = list(portions(0, len(prompts), portion, prompts.length_P, answers.length_B))
    more = spares(len(own), len(answers.ids_BT) // len(prompts), portion)
    for piece in own:
        ids_bT, mask_bT = piece.cut(answers.ids_BT, answers.mask_BT)
        rows = read_here(local, views, prompts, piece, answers, portion.chunk)
        here = make_views(ids_bT, mask_bT, rows)
        here |= answered(asked, piece, ids_bT, mask_bT, reads)
        if answers.own_BT is not None:
            here["student"].known[("logp",)], _ = piece.cut(answers.own_BT, answers.mask_BT)
        for name, view in here.items():
            view.read_all(reads.requests[name])
            known[name].append(view)
        for name in reads.whole:
            kept[name].append(rows[name])
    for piece in more:
        read_here(local, views, prompts, piece, answers, portion.chunk)
    ids_BT, mask_BT, chunk = answers.ids_BT, answers.mask_BT, portion.chunk
    return {
        name: View(
            name,
            ids_BT,
            mask_BT,
            whole(kept.get(name, ()), own, mask_BT, chunk),
            merge(parts, own, mask_BT),
        )
        for name, parts in known.items()
    }


def read_here(
    names: Iterable[str],
    views: Mapping[str, Source],
    prompts: Prompts,
    piece: Piece,
    answers: Answers,
    chunk: int | None,
) -> dict[str, Distributions]:
    """What the views say at the valid tokens of a piece."""
    return {
        name: (as_written if name == "student" else read)(
            views[name], prompts, piece, answers, chunk
        )
        for name in names
    }


def as_written(
    student: Source, prompts: Prompts, piece: Piece, answers: Answers, chunk: int | None
) -> Distributions:
    """The student at the valid tokens of a piece: its states from when it wrote, where they were
    kept; read once more, where not."""
    if answers.hidden_BTH is None:
        return read(student, prompts, piece, answers, chunk)
    mask_bT = answers.mask_BT[piece.rows]
    return Rows(answers.hidden_BTH[piece.rows][mask_bT], student.policy.head, chunk)


def merge(views: Sequence[View], pieces: Sequence[Piece], mask_BT: Tensor) -> dict[Request, Tensor]:
    """What the pieces' views know, at its place in the batch."""
    known = {}
    for request, x in views[0].known.items():
        known[request] = x.new_zeros(*mask_BT.shape, *x.shape[2:])
        for piece, view in zip(pieces, views, strict=True):
            part = view.known[request]
            known[request][piece.rows, : part.shape[1]] = part
    return known


def whole(
    blocks: Sequence[Distributions], pieces: Sequence[Piece], mask_BT: Tensor, chunk: int | None
) -> Distributions | None:
    """The kept distributions of all pieces, under the head as it is now."""
    if not blocks:
        return None
    rows = joined(blocks, [piece.tokens(mask_BT) for piece in pieces], chunk)
    return replace(rows, head=rows.head.frozen()) if isinstance(rows, Rows) else rows
