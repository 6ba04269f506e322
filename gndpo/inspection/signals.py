"""What is known of every token of some answers: its scores, and the signal of each strategy."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gndpo.matches import ids_of, on_ids, on_vocabulary, reader, spans_vocabulary
from gndpo.reads import random_scores
from gndpo.rows import scatter
from gndpo.sampled import logp_at
from gndpo.scores import Scores
from gndpo.signal import Match, Signal, Strategy
from gndpo.views import View


@dataclass(frozen=True)
class Strategies:
    """Strategies by name. own: whose carry the scores hold; the others start without. sees:
    whether the models look at images."""

    of: Mapping[str, Strategy]
    own: str
    sees: bool

    def signals(self, scores: Scores) -> dict[str, Signal]:
        """What each makes of the same answers."""
        fresh = replace(scores, carry={})
        return {
            name: strategy(scores if name == self.own else fresh)
            for name, strategy in self.of.items()
        }

    def __call__(self, scores: Scores) -> Signal:
        """All of them as one strategy that reads what they read, and what `columns` does: its dry
        run finds the views to score."""
        found = self.signals(scores)
        matches = [
            replace(match, name=f"{name}/{match.name}")
            for name, signal in found.items()
            for match in signal.matches
        ]
        for match in matches:
            assert scores.views[match.view].rows
        notes = columns(scores, sees=self.sees)
        return Signal(torch.zeros_like(scores.student.logp_BT), tuple(matches), notes)


def columns(scores: Scores, *, sees: bool) -> dict[str, Tensor]:
    """Per token, nats: log pi of student and teacher, log_ratio = log pi_T - log pi_S, both
    entropies, visual = log pi_T(image) - log pi_T(without); and the token's rank with the
    teacher."""
    student, teacher = scores.student, scores.teacher
    visual = {"visual": teacher.logp_BT - scores.teacher_text.logp_BT} if sees else {}
    return {
        "student": student.logp_BT,
        "teacher": teacher.logp_BT,
        "log_ratio": teacher.logp_BT - student.logp_BT,
        **visual,
        "entropy": student.entropy_BT,
        "teacher_entropy": teacher.entropy_BT,
        "rank": rank(teacher),
    }


def rank(view: View) -> Tensor:
    """1 + how many ids the view likes better than the token, [B, T]; 0 at padding."""
    rows, ids_N = view.rows, view.ids_BT[view.mask_BT]
    better = []
    for part in rows.chunks():
        score_nV = rows.unnormalized(part)
        better.append((score_nV > score_nV.gather(-1, ids_N[part, None])).sum(-1))
    return scatter(1 + torch.cat(better), view.mask_BT)


@torch.no_grad()
def match_values(match: Match, scores: Scores) -> Tensor:
    """weight * D(student view, target) at every valid token, nats, [B, T]: what it adds to the
    token's loss, before the weight of the token itself."""
    rows = scores.views[match.view].rows
    weight_N = scores.own(match.weight_BT)
    index_N = torch.arange(len(weight_N), device=weight_N.device)
    if spans_vocabulary(match):
        values = []
        for part in rows.chunks():
            index_n = index_N[part]
            read = reader(scores, index_n)
            values.append(on_vocabulary(rows.log_probs(part), match, scores, index_n, read)[0])
        D_N = torch.cat(values)
    else:
        D_N = on_ids(logp_at(rows, ids_of(match, scores, index_N)), match, scores, index_N)
    return scatter(weight_N * D_N, scores.mask_BT)


def kind_of(strategy: Strategy, vocabulary: int) -> str:
    """How a strategy teaches: by an advantage, a match, or both; seen on a random batch."""
    signal = strategy(random_scores(vocabulary))
    if not signal.matches:
        return "advantage"
    return "both" if signal.advantage_BT.any() else "match"


@dataclass(frozen=True)
class Seen:
    """What is known of the tokens, [B, T] each: `columns`, by strategy the advantages and the sums
    of `match_values` where it has any, and <strategy>/<note>."""

    columns: Mapping[str, Tensor]
    kinds: Mapping[str, str]
    advantages: Mapping[str, Tensor]
    losses: Mapping[str, Tensor]
    notes: Mapping[str, Tensor]


def see(scores: Scores, strategies: Strategies, vocabulary: int) -> Seen:
    """Everything about the answers of one step."""
    kinds = {name: kind_of(strategy, vocabulary) for name, strategy in strategies.of.items()}
    signals = strategies.signals(scores)
    return Seen(
        columns=columns(scores, sees=strategies.sees),
        kinds=kinds,
        advantages={name: signals[name].advantage_BT for name in kinds if kinds[name] != "match"},
        losses={
            name: torch.stack([match_values(match, scores) for match in signal.matches]).sum(0)
            for name, signal in signals.items()
            if signal.matches
        },
        notes={
            f"{name}/{note}": x_BT
            for name, signal in signals.items()
            for note, x_BT in signal.notes.items()
        },
    )
