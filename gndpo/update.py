"""From a signal to new weights: minibatches, one global denominator each, one backward per
microbatch, clip, guard, step."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor

from gndpo import ranks
from gndpo.gradients import (
    clip,
    cosine_of_halves,
    gradient_copy,
    gradients,
    part_norms,
    sum_over_ranks,
    summed,
)
from gndpo.loss import Loss, Surrogate, answer_loss, check_first_ratio
from gndpo.memory.retry import fitting
from gndpo.metrics import mean
from gndpo.pieces import Piece, Portion, portions, spares
from gndpo.prompts import Prompts
from gndpo.rows import Rows
from gndpo.scores import Scores
from gndpo.signal import Match, Signal
from gndpo.sources import Source
from gndpo.surrogates import token_weights

Optimizer = torch.optim.Optimizer | LightningOptimizer


@dataclass
class UpdateSettings:
    """epochs over the rollout batch, in `minibatches` updates each; micro, answers, tokens, chunk:
    what goes through at a time (`Portion`, shared there); clip_norm: largest gradient norm (null:
    no clip); max_skipped: updates in a row that may be skipped (null: all)."""

    epochs: int
    minibatches: int
    micro: int | None
    answers: int | None
    tokens: int | None
    chunk: int | None
    clip_norm: float | None
    max_skipped: int | None = None
    shared: bool = False

    @property
    def portion(self) -> Portion:
        return Portion(self.micro, self.answers, self.chunk, self.tokens, self.shared)

    def take(self, portion: Portion) -> None:
        self.micro, self.answers, self.tokens = portion.micro, portion.answers, portion.tokens


@dataclass(frozen=True)
class Batch:
    """What every update of a step shares. places: prompts that the step has over all ranks, those
    that were dropped too (None: these here)."""

    prompts: Prompts
    scores: Scores
    signal: Signal
    aggregation: str
    surrogate: Surrogate
    backward: Callable[[Tensor], None]
    places: int | None = None

    @property
    def group(self) -> int:
        return len(self.scores.ids_BT) // len(self.prompts)

    @property
    def place_P(self) -> Sequence[int]:
        """Where in the step the prompts here stand, ascending; -1: nowhere."""
        row_B = self.scores.row_B
        if row_B is None:
            return range(len(self.prompts))
        return [-1 if row < 0 else row // self.group for row in row_B[:: self.group].tolist()]

    def here(self, start: int, stop: int) -> range:
        """Those of the step's prompts start..stop-1 that are here."""
        return ranks.within(self.place_P, start, stop)


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
    P, parts = batch.places or len(batch.prompts), settings.minibatches
    cuts = [i * P // parts for i in range(parts + 1)]
    minibatches = [cut for cut in pairwise(cuts) if answered(batch, *cut)[0]]
    for _ in range(settings.epochs):
        for start, stop in minibatches:
            first = not rows
            optimizer.zero_grad(set_to_none=True)
            apart = halves and first
            work = partial(accumulate, sources, batch, start, stop, settings, halves=apart)
            size = math.ceil(len(batch.here(start, stop)) / (1 + apart))
            row = fitting("updates", settings, work, views=views, prompts=size, group=batch.group)
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
    """Gradients of the step's prompts start..stop-1, summed over the ranks that hold them, their
    denominators fixed before the first backward."""
    weight_BT = weights(batch, start, stop)
    middle = math.ceil((start + stop) / 2)
    parts = [(start, middle), (middle, stop)] if halves and middle < stop else [(start, stop)]
    model = sources["student"].policy.model
    losses: list[Loss] = []
    after: list[list[Tensor]] = []
    for part in parts:
        for piece, weighed_BT in weighed(batch, part, settings.portion, weight_BT):
            current = current_rows(sources, batch, piece, settings.chunk)
            loss = answer_loss(
                current, batch.scores, batch.signal, batch.surrogate, weighed_BT, piece
            )
            if loss.total.requires_grad:  # rows without image teach no vision tower
                batch.backward(loss.total)
            losses.append(loss)
        if part != parts[-1]:
            after.append(gradient_copy(model))
    sum_over_ranks(model)
    metrics = loss_metrics(losses, batch.signal.matches)
    for first in after:
        metrics["grad/cosine_halves"] = cosine_of_halves(summed(first), gradients(model))
    return metrics


def weighed(
    batch: Batch, part: tuple[int, int], portion: Portion, weight_BT: Tensor
) -> Iterator[tuple[Piece, Tensor]]:
    """The pieces here of the step's prompts part, and what their tokens count."""
    here = batch.here(*part)
    length_P, length_B = batch.prompts.length_P, batch.scores.mask_BT.sum(1)
    own = list(portions(here.start, here.stop, portion, length_P, length_B))
    more = spares(len(own), batch.group, portion)
    yield from ((piece, weight_BT) for piece in own)
    yield from ((piece, torch.zeros_like(weight_BT)) for piece in more)


def answered(batch: Batch, start: int, stop: int) -> tuple[float, float]:
    """Answers to the step's prompts start..stop-1 and their tokens, over all ranks."""
    here = batch.here(start, stop)
    mask_bT = batch.scores.mask_BT[here.start * batch.group : here.stop * batch.group]
    counts = torch.tensor([len(mask_bT), int(mask_bT.sum())], dtype=torch.double)
    answers, tokens = ranks.total(counts).tolist()
    return answers, tokens


def weights(batch: Batch, start: int, stop: int) -> Tensor:
    """What a token of the step's prompts start..stop-1 counts, [B, T]; nothing, where it is
    another's."""
    here = batch.here(start, stop)
    own = slice(here.start * batch.group, here.stop * batch.group)
    weight_BT = torch.zeros_like(batch.signal.advantage_BT)
    weight_BT[own] = token_weights(
        batch.scores.mask_BT[own], batch.aggregation, answered(batch, start, stop)
    ).to(weight_BT.dtype)
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


def loss_metrics(losses: Sequence[Loss], matches: Sequence[Match]) -> dict[str, float]:
    """Over the pieces of all ranks."""
    names = [*(match.name for match in matches), "surrogate"] if matches else []
    sums = [
        sum(float(loss.total.detach()) for loss in losses),
        sum(float(loss.clipped) for loss in losses),
        sum(loss.tokens for loss in losses),
        *(sum(float(loss.parts[name]) for loss in losses) for name in names),
    ]
    every = ranks.total(torch.tensor(sums, dtype=torch.double))
    value, clipped, tokens, *parts = every.tolist()
    ratios = [float(loss.ratio_max) for loss in losses]
    return {
        "train/loss": value,
        **{f"train/loss_{name}": part for name, part in zip(names, parts, strict=True)},
        "policy/ratio_max": ranks.largest(max(ratios, default=0.0)),
        "policy/clip_fraction": clipped / tokens,
    }
