"""Step time against processes: a batch of fixed size, shared by more and more of them.

A rank takes `step * (token steps) + token * (tokens written) + prompt * (prompt tokens)` seconds to
write its share, `fixed + read * (tokens)` to score it and as much of its own kind to learn from it.
All ranks wait for the slowest after writing, after scoring (statistics are global) and after the
update; then gradients are summed. For the laboratory's tiny pair these rates are fitted to what
`benchmarks/results/growth.jsonl` measured; for 4B and 32B they are assumed (`conf/table.yaml`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from omegaconf import OmegaConf
from scipy.optimize import nnls

from benchmarks.growth import BASE, OURS
from benchmarks.records import Record, read
from experiments.scale.layout import STEP, STUDENT, TEACHER, count
from gndpo.memory.footprint import cache_bytes, weight_bytes
from gndpo.tables.cost import forward
from gndpo.tables.shapes import build

ROOT = Path(__file__).parents[2]
NODE = 8  # GPUs
WITHIN, BETWEEN = 300e9, 25e9
"""Bytes per second into a GPU, of an A100's data sheets: NVLink (600 GB/s, both ways), and one
InfiniBand adapter of 200 Gb/s per GPU, as in a DGX A100."""
Lengths = NDArray[np.int64]


@dataclass(frozen=True)
class Rates:
    """Seconds, as above. teacher: of one token on one GPU of the teacher's servers, 0: none."""

    step: float
    token: float
    prompt: float
    score: tuple[float, float]
    update: tuple[float, float]
    teacher: float = 0.0


@dataclass(frozen=True)
class Load:
    """prompt: tokens. rows: answers that a rank writes at a time. moved: bytes that a rank
    receives per step, of so many."""

    prompt: int
    rows: int
    moved: Callable[[int], float]


def seconds(rates: Rates, load: Load, lengths_PG: Lengths, ranks: int, servers: int) -> float:
    """Of one step with these answers."""
    shares = np.array_split(lengths_PG, ranks)
    tokens = [share.shape[0] * load.prompt + int(share.sum()) for share in shares]
    asked = lengths_PG.size * load.prompt + int(lengths_PG.sum())
    teacher = rates.teacher * asked / servers if servers else 0.0
    written = max(writing(rates, load, share) for share in shares)
    scored = max(teacher, *(rates.score[0] + rates.score[1] * n for n in tokens))
    learned = max(rates.update[0] + rates.update[1] * n for n in tokens)
    return written + scored + learned + load.moved(ranks) / slowest(ranks)


def writing(rates: Rates, load: Load, lengths_PG: Lengths) -> float:
    """Batch after batch of prompts, each as long as its longest answer."""
    prompts, group = lengths_PG.shape
    at_once = max(1, load.rows // group)
    steps = sum(int(lengths_PG[i : i + at_once].max()) for i in range(0, prompts, at_once))
    written = rates.token * float(lengths_PG.sum()) + rates.prompt * prompts * load.prompt
    return rates.step * steps + written


def slowest(ranks: int) -> float:
    """A ring over all GPUs is as fast as its slowest link."""
    return WITHIN if ranks <= NODE else BETWEEN


def fitted(records: Sequence[Record]) -> tuple[Rates, dict[str, float]]:
    """Least squares without negative rates, and by how much each phase is missed, median of the
    absolute relative errors."""
    cases = [record.case for record in records]
    P, B = ([getattr(case, name) for case in cases] for name in ("prompts", "answers"))
    L, T = ([getattr(case, name) for case in cases] for name in ("prompt", "answer"))
    P, B, L, T = (np.array(x, dtype=float) for x in (P, B, L, T))
    read_ = np.stack([np.ones_like(P), P * L + B * T], 1)
    of = {"rollout": np.stack([T, B * T, P * L], 1), "score": read_, "update": read_}
    found, missed = {}, {}
    for phase, features in of.items():
        seen = np.array([record.arms[OURS].phase(phase) for record in records])
        found[phase] = nnls(features / seen[:, None], np.ones_like(seen))[0]
        missed[phase] = float(np.median(np.abs(features @ found[phase] / seen - 1)))
    step, token, prompt = map(float, found["rollout"])
    score, update = (tuple(map(float, found[name])) for name in ("score", "update"))
    return Rates(step, token, prompt, score, update), missed  # type: ignore[arg-type]


def measured() -> list[Record]:
    """Of the tiny pair with few ids: what grows is G, L, T or P."""
    records = read(ROOT / "benchmarks" / "results" / "growth.jsonl")
    return [record for record in records if record.case.vocabulary == BASE.vocabulary]


def assumed(slower: float) -> Rates:
    """Of the 4B student and the served 32B teacher, from operations and bytes. slower: than in
    bfloat16, where the student computes."""
    given: Any = OmegaConf.load(ROOT / "conf" / "table.yaml").assume
    student, teacher = build(STUDENT), build(TEACHER)
    rate, reading = given.flops * given.utilisation, given.bandwidth * given.reading
    context = STEP.prompt + STEP.answer / 2
    own = slower * forward(student, 1, context) / rate
    width = 4 if slower > 1 else 2
    step = max(given.latency, weight_bytes([student]) * width / 2 / reading)
    token = own + cache_bytes(student, 1, int(context)) * width / 2 / reading
    optimizer = 16 * count(student) / reading
    return Rates(
        step, token, own, (0.0, own), (optimizer, 4 * own), forward(teacher, 1, context) / rate
    )


def drawn(prompts: int, group: int, mean: float, longest: int, seed: int) -> Lengths:
    """Exponential, cut off: many short answers, some as long as allowed. An assumption."""
    draws = np.random.default_rng(seed).exponential(mean, (prompts, group))
    return np.clip(draws.round(), 1, longest).astype(np.int64)


def curve(
    rates: Rates, load: Load, batches: Sequence[Lengths], ranks: Sequence[int]
) -> dict[int, float]:
    """Mean seconds by number of ranks; each has the teacher."""
    return {
        n: float(np.mean([seconds(rates, load, lengths, n, 0) for lengths in batches]))
        for n in ranks
    }


def divided(
    rates: Rates, load: Load, batches: Sequence[Lengths], gpus: Sequence[int]
) -> Mapping[int, tuple[int, float]]:
    """By all GPUs: how many serve the teacher (fours: it needs two to fit), so that a step takes
    least, and its seconds."""
    found = {}
    for n in gpus:
        every = {
            m: float(np.mean([seconds(rates, load, lengths, n - m, m) for lengths in batches]))
            for m in range(4, n, 4)
        }
        found[n] = min(every.items(), key=lambda item: item[1])
    return found
