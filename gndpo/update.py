"""From a signal to new weights: minibatches, one global denominator each, one backward per
microbatch, clip, guard, step."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor

from gndpo.gradients import clip, cosine_of_halves, gradient_copy, gradients, part_norms
from gndpo.loss import Loss, Surrogate, answer_loss
from gndpo.metrics import mean
from gndpo.pieces import Piece, Portion, portions
from gndpo.prompts import Prompts
from gndpo.rows import Rows
from gndpo.scores import STUDENT, Scores
from gndpo.signal import Signal
from gndpo.sources import Source
from gndpo.surrogates import token_weights

Optimizer = torch.optim.Optimizer | LightningOptimizer


@dataclass(frozen=True)
class UpdateSettings:
    """epochs over the rollout batch, in `minibatches` updates each; micro, answers, tokens, chunk:
    what goes through at a time (`Portion`); clip_norm: largest gradient norm (null: no clip)."""

    epochs: int
    minibatches: int
    micro: int | None
    answers: int | None
    tokens: int | None
    chunk: int | None
    clip_norm: float | None

    @property
    def portion(self) -> Portion:
        return Portion(self.micro, self.answers, self.chunk, self.tokens)


@dataclass(frozen=True)
class Batch:
    """What every update of a step shares."""

    prompts: Prompts
    scores: Scores
    signal: Signal
    aggregation: str
    surrogate: Surrogate
    backward: Callable[[Tensor], None]


def update(
    views: Mapping[str, Source],
    trained: frozenset[str],
    batch: Batch,
    optimizer: Optimizer,
    settings: UpdateSettings,
    *,
    halves: bool,
) -> dict[str, float]:
    """All updates of one step. halves: split the first one in two and report the cosine between
    the two gradients."""
    sources = {name: views[name] for name in sorted(trained)}
    student = views["student"].policy
    rows: list[dict[str, float]] = []
    P, parts = len(batch.prompts), min(settings.minibatches, len(batch.prompts))
    cuts = [i * P // parts for i in range(parts + 1)]
    for _ in range(settings.epochs):
        for start, stop in pairwise(cuts):
            first = not rows
            optimizer.zero_grad(set_to_none=True)
            row = accumulate(sources, batch, start, stop, settings, halves=halves and first)
            if first:
                check_first_ratio(row["policy/ratio_max"], batch.scores, student.model.dtype)
            rows.append(row | apply(student.model, optimizer, settings.clip_norm))
            student.memory = None  # of other weights than now
    optimizer.zero_grad(set_to_none=True)  # no gradient lies about while answers are written
    merged = {key: mean([row[key] for row in rows if key in row]) for key in rows[0]}
    merged["policy/ratio_max"] = max(row["policy/ratio_max"] for row in rows)
    merged["grad/skipped"] = sum(row["grad/skipped"] for row in rows)
    merged["train/updates"] = len(rows) - merged["grad/skipped"]
    return merged


def accumulate(
    sources: Mapping[str, Source],
    batch: Batch,
    start: int,
    stop: int,
    settings: UpdateSettings,
    *,
    halves: bool,
) -> dict[str, float]:
    """Gradients of the prompts start..stop-1, their denominators fixed before the first
    backward."""
    weight_BT = weights(batch, start, stop)
    middle = math.ceil((start + stop) / 2)
    parts = [(start, middle), (middle, stop)] if halves and middle < stop else [(start, stop)]
    length_P, length_B = batch.prompts.length_P, batch.scores.mask_BT.sum(1)
    model = sources["student"].policy.model
    losses: list[Loss] = []
    after: list[list[Tensor]] = []
    for part in parts:
        for piece in portions(*part, settings.portion, length_P, length_B):
            current = current_rows(sources, batch, piece, settings.chunk)
            loss = answer_loss(
                current, batch.scores, batch.signal, batch.surrogate, weight_BT, piece
            )
            if loss.total.requires_grad:  # rows without image teach no vision tower
                batch.backward(loss.total)
            losses.append(loss)
        after.append(gradient_copy(model) if part != parts[-1] else gradients(model))
    metrics = loss_metrics(losses)
    if len(parts) > 1:
        metrics["grad/cosine_halves"] = cosine_of_halves(*after)
    return metrics


def weights(batch: Batch, start: int, stop: int) -> Tensor:
    """What a token of the prompts start..stop-1 counts, [B, T]; nothing, where it is another's."""
    G = len(batch.scores.ids_BT) // len(batch.prompts)
    own = slice(start * G, stop * G)
    weight_BT = torch.zeros_like(batch.signal.advantage_BT)
    weight_BT[own] = token_weights(batch.scores.mask_BT[own], batch.aggregation).to(weight_BT.dtype)
    return weight_BT


def current_rows(
    sources: Mapping[str, Source], batch: Batch, piece: Piece, chunk: int | None
) -> dict[str, Rows]:
    """The trained views' distributions under the current weights, with gradient, at the valid
    tokens of a piece."""
    ids_bT, mask_bT = piece.cut(batch.scores.ids_BT, batch.scores.mask_BT)
    rows = {}
    for name, source in sources.items():
        rendering = batch.prompts.renderings[source.rendering].select(piece.prompts)
        rows[name] = Rows(
            source.policy.hidden(rendering, ids_bT)[mask_bT], source.policy.head, chunk
        )
    return rows


def apply(
    model: torch.nn.Module, optimizer: Optimizer, clip_norm: float | None
) -> dict[str, float]:
    """Clip and step; a gradient that is not finite is dropped and counted, the weights stay as
    they are."""
    norms = part_norms(model)
    norm = norms["grad/norm"]
    finite = math.isfinite(norm)
    clipped = finite and clip(model.parameters(), norm, clip_norm)
    if finite:
        optimizer.step()
    return {**norms, "grad/clipped": float(clipped), "grad/skipped": float(not finite)}


def loss_metrics(losses: list[Loss]) -> dict[str, float]:
    names = [name for name in losses[0].parts if len(losses[0].parts) > 1]
    parts = {
        f"train/loss_{name}": sum(float(loss.parts[name]) for loss in losses) for name in names
    }
    return {
        "train/loss": sum(float(loss.total.detach()) for loss in losses),
        **parts,
        "policy/ratio_max": max(float(loss.ratio_max) for loss in losses),
        "policy/clip_fraction": sum(float(loss.clipped) for loss in losses)
        / sum(loss.tokens for loss in losses),
    }


def check_first_ratio(ratio_max: float, scores: Scores, dtype: torch.dtype) -> None:
    """Before the first update current and old are the same weights: a ratio other than 1 is a
    bug (dropout, a stale cache). Of narrow numbers the largest of many ratios says nothing."""
    student_wrote_all = bool((scores.author_BT == STUDENT).all())
    if dtype.itemsize < 4 or not student_wrote_all or not math.isfinite(ratio_max):
        return
    assert abs(ratio_max - 1) < 1e-3, (
        f"importance ratio {ratio_max} before the first update; it must be 1 (is dropout on?)"
    )
