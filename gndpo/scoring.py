"""Scores of the answers: one forward per view, group by group; only what the strategy reads is
kept."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gndpo.policy import Policy
from gndpo.prompts import Prompts
from gndpo.reads import Reads
from gndpo.rollout import Answers
from gndpo.rows import Rows
from gndpo.views import Request, View, make_views


@dataclass(frozen=True)
class Source:
    """A view's ingredients: weights and prompt rendering."""

    policy: Policy
    rendering: str


def sources(student: Policy, teacher: Policy) -> dict[str, Source]:
    return {
        "student": Source(student, "image"),
        "teacher": Source(teacher, "image"),
        "student_text": Source(student, "text"),
        "teacher_text": Source(teacher, "text"),
    }


def spans(start: int, stop: int, size: int | None) -> Iterator[tuple[int, int]]:
    """Consecutive spans of at most `size` prompts (None: one span)."""
    size = size or stop - start
    for i in range(start, stop, size):
        yield i, min(i + size, stop)


@torch.no_grad()
def score(
    views: Mapping[str, Source],
    prompts: Prompts,
    answers: Answers,
    reads: Reads,
    *,
    micro: int | None,
    chunk: int,
) -> dict[str, View]:
    """The views that `reads` names, each with the quantities it asks for. micro: prompts per
    forward; chunk: rows per head."""
    G = len(answers.ids_BT) // len(prompts)
    known: dict[str, list[View]] = {name: [] for name in reads.requests}
    kept: dict[str, list[Tensor]] = {name: [] for name in reads.whole}
    for start, stop in spans(0, len(prompts), micro):
        ids_bT, mask_bT = (x[start * G : stop * G] for x in (answers.ids_BT, answers.mask_BT))
        rows = {}
        for name in reads.requests:
            rendering = prompts.renderings[views[name].rendering].select(start, stop)
            hidden_bTH = views[name].policy.hidden(rendering, ids_bT)
            rows[name] = Rows(hidden_bTH[mask_bT], views[name].policy.head, chunk)
        for name, view in make_views(ids_bT, mask_bT, rows).items():
            for request in reads.requests[name]:
                view.read(request)
            known[name].append(view)
        for name in reads.whole:
            kept[name].append(rows[name].hidden_NH)
    whole = {
        name: Rows(torch.cat(kept[name]), views[name].policy.head.frozen(), chunk)
        for name in reads.whole
    }
    return {
        name: View(name, answers.ids_BT, answers.mask_BT, whole.get(name), merge(parts))
        for name, parts in known.items()
    }


def merge(parts: Sequence[View]) -> dict[Request, Tensor]:
    """What the microbatches' views know, one below the other."""
    return {
        request: torch.cat([part.known[request] for part in parts]) for request in parts[0].known
    }
