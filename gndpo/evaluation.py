"""Accuracy on rows that training never sees: greedy, sampled at temperature 1, and blind (image
removed)."""

import math
from collections import defaultdict
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from gndpo import ranks
from gndpo.data.rows import Row
from gndpo.metrics import mean
from gndpo.models.processor import Processor
from gndpo.policy import Policy
from gndpo.prompts import Prompts, make_prompts
from gndpo.reading import PLAIN, Speed
from gndpo.rewards import Grade, Reward
from gndpo.rng import uniform
from gndpo.rollout import Answers
from gndpo.sources import Source, write

BATCH = 128
"""Prompts per forward of the embedded models; larger ones take fewer."""


@torch.no_grad()
def evaluate(
    reader: Policy | Source,
    processor: Processor,
    rows: Sequence[Row],
    reward: Grade,
    *,
    k: int,
    max_tokens: int,
    seed: int,
    device: torch.device,
    context: str | None = None,
    batch: int = BATCH,
    speed: Speed = PLAIN,
) -> dict[str, float]:
    """acc_1: greedy accuracy. acc_k, pass_k: mean, and any, over k samples. blind: greedy without
    the image, where there is one. Fractions of 1.

    truncated, length, timeouts, the reward's other parts (format): of the greedy answers.
    acc_1/<kind>: greedy accuracy per kind of question. k = 0 leaves the samples out. context: the
    template of a reader that has one. batch: prompts per forward. Each rank takes some batches.
    """
    source = reader if isinstance(reader, Source) else Source.of(reader)
    batch = min(batch, math.ceil(len(rows) / ranks.size()))
    starts = range(0, len(rows), batch)[ranks.rank() :: ranks.size()]
    measure = partial(
        batch_measures,
        source,
        processor,
        reward,
        k=k,
        max_tokens=max_tokens,
        seed=seed,
        device=device,
        context=context,
        speed=speed,
    )
    own = {start: measure(rows[start : start + batch], start) for start in starts}
    found = {start: values for some in ranks.everywhere(own) for start, values in some.items()}
    totals: dict[str, list[float]] = defaultdict(list)
    for start in sorted(found):
        for name, values in found[start].items():
            totals[name] += values
    return {f"eval/{name}": mean(values) for name, values in totals.items()}


def batch_measures(
    source: Source,
    processor: Processor,
    reward: Grade,
    rows: Sequence[Row],
    start: int,
    *,
    k: int,
    max_tokens: int,
    seed: int,
    device: torch.device,
    context: str | None,
    speed: Speed,
) -> dict[str, list[float]]:
    """What the rows from number `start` on give to each mean."""
    prompts = make_prompts(rows, processor, device=device, context=context)
    answer = partial(answered, prompts, processor, reward, max_tokens, speed)
    seeing, blind = source.seeing("image"), source.seeing("text")
    values = greedy_measures(prompts.rows, *answer(seeing, 1, None))
    if any(row["images"] for row in prompts.rows):
        values |= blind_measures(prompts.rows, answer(blind, 1, None)[1])
    if k > 0:
        numbers = range(start * k, (start + len(prompts)) * k)
        draws = torch.from_numpy(uniform(seed, "evaluation", 0, numbers, max_tokens))
        values |= sample_measures(answer(seeing, k, draws.to(device))[1], k)
    return values


def answered(
    prompts: Prompts,
    processor: Processor,
    reward: Grade,
    max_tokens: int,
    speed: Speed,
    source: Source,
    group: int,
    uniform_BT: Tensor | None,
) -> tuple[Answers, list[Reward]]:
    """`group` answers per prompt and what each earns; no draws: greedy."""
    answers = write(
        source, prompts, group=group, max_tokens=max_tokens, uniform_BT=uniform_BT, speed=speed
    )
    return answers, grade(answers, prompts, processor, reward)


def greedy_measures(
    rows: Sequence[Row], answers: Answers, rewards: Sequence[Reward]
) -> dict[str, list[float]]:
    kinds: dict[str, list[float]] = defaultdict(list)
    for row, r in zip(rows, rewards, strict=True):
        if row["kind"]:
            kinds[f"acc_1/{row['kind']}"].append(r.correct)
    return {
        "acc_1": [r.correct for r in rewards],
        **parts_of(rewards),
        "truncated": answers.truncated_B.tolist(),
        "length": answers.length_B.tolist(),
        **kinds,
    }


def blind_measures(rows: Sequence[Row], rewards: Sequence[Reward]) -> dict[str, list[float]]:
    """Of the rows that have an image to be taken away."""
    return {"blind": [r.correct for row, r in zip(rows, rewards, strict=True) if row["images"]]}


def parts_of(rewards: Sequence[Reward]) -> dict[str, list[float]]:
    """The parts of the rewards besides accuracy, and the answers that no grader could finish."""
    names = [name for name in rewards[0].parts if name != "accuracy"]
    parts = {name: [r.parts[name] for r in rewards] for name in names}
    return parts | {"timeouts": [float(r.timed_out) for r in rewards]}


def sample_measures(rewards: Sequence[Reward], k: int) -> dict[str, list[float]]:
    groups = [[r.correct for r in rewards[i : i + k]] for i in range(0, len(rewards), k)]
    return {"acc_k": [mean(group) for group in groups], "pass_k": [max(g) for g in groups]}


def grade(answers: Answers, prompts: Prompts, processor: Processor, reward: Grade) -> list[Reward]:
    """The reward of every answer, in order; an answer belongs to prompt i // G."""
    G = len(answers.ids_BT) // len(prompts)
    rows = [row for row in prompts.rows for _ in range(G)]
    return reward(decode(answers, processor), rows)


def decode(answers: Answers, processor: Processor) -> list[str]:
    ids = [
        row[:length]
        for row, length in zip(answers.ids_BT.tolist(), answers.length_B.tolist(), strict=True)
    ]
    return list(processor.tokenizer.batch_decode(ids, skip_special_tokens=True))
