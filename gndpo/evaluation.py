"""Accuracy on rows that training never sees: greedy, sampled at temperature 1, and blind (image
removed)."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from gndpo.data.rows import Row
from gndpo.metrics import mean
from gndpo.policy import Policy
from gndpo.prompts import Prompts, make_prompts
from gndpo.rewards import Reward
from gndpo.rng import uniform
from gndpo.rollout import Answers
from gndpo.sources import Source, write

Grade = Callable[[str, str], Reward]
"""(answer, truth) -> reward."""

Graded = tuple[Answers, list[Reward]]

BATCH = 128
"""Prompts per forward."""


@torch.no_grad()
def evaluate(
    reader: Policy | Source,
    processor: Any,
    rows: Sequence[Row],
    reward: Grade,
    *,
    k: int,
    max_tokens: int,
    seed: int,
    device: torch.device,
    context: str | None = None,
) -> dict[str, float]:
    """acc_1: greedy accuracy. acc_k, pass_k: mean, and any, over k samples. blind: greedy without
    the image. Fractions of 1.

    format, truncated, length: of the greedy answers. acc_1/<kind>: greedy accuracy per kind of
    question. k = 0 leaves the samples out. context: the template of a reader that has one.
    """
    source = reader if isinstance(reader, Source) else Source.of(reader)
    totals: dict[str, list[float]] = defaultdict(list)
    for start in range(0, len(rows), BATCH):
        prompts = make_prompts(
            rows[start : start + BATCH], processor, device=device, context=context
        )

        def answer(
            picture: str, group: int, draws: Tensor | None, prompts: Prompts = prompts
        ) -> Graded:
            answers = write(
                source.seeing(picture),
                prompts,
                group=group,
                max_tokens=max_tokens,
                uniform_BT=draws,
            )
            return answers, grade(answers, prompts, processor, reward)

        parts = [greedy_measures(prompts.rows, *answer("image", 1, None))]
        parts.append({"blind": [r.correct for r in answer("text", 1, None)[1]]})
        if k > 0:
            numbers = range(start * k, (start + len(prompts)) * k)
            draws = torch.from_numpy(uniform(seed, "evaluation", 0, numbers, max_tokens))
            parts.append(sample_measures(answer("image", k, draws.to(device))[1], k))
        for part in parts:
            for name, values in part.items():
                totals[name] += values
    return {f"eval/{name}": mean(values) for name, values in totals.items()}


def greedy_measures(
    rows: Sequence[Row], answers: Answers, rewards: Sequence[Reward]
) -> dict[str, list[float]]:
    kinds: dict[str, list[float]] = defaultdict(list)
    for row, r in zip(rows, rewards, strict=True):
        kinds[f"acc_1/{row['kind']}"].append(r.correct)
    return {
        "acc_1": [r.correct for r in rewards],
        "format": [r.formatted for r in rewards],
        "truncated": answers.truncated_B.tolist(),
        "length": answers.length_B.tolist(),
        **kinds,
    }


def sample_measures(rewards: Sequence[Reward], k: int) -> dict[str, list[float]]:
    groups = [[r.correct for r in rewards[i : i + k]] for i in range(0, len(rewards), k)]
    return {"acc_k": [mean(group) for group in groups], "pass_k": [max(g) for g in groups]}


def grade(answers: Answers, prompts: Prompts, processor: Any, reward: Grade) -> list[Reward]:
    """The reward of every answer, in order; an answer belongs to prompt i // G."""
    G = len(answers.ids_BT) // len(prompts)
    texts = decode(answers, processor)
    return [reward(text, prompts.rows[i // G]["answer"]) for i, text in enumerate(texts)]


def decode(answers: Answers, processor: Any) -> list[str]:
    ids = [
        row[:length]
        for row, length in zip(answers.ids_BT.tolist(), answers.length_B.tolist(), strict=True)
    ]
    return list(processor.tokenizer.batch_decode(ids, skip_special_tokens=True))
