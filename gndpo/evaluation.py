"""Accuracy on rows that training never sees: greedy, sampled at temperature 1, and blind (image
removed)."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import torch

from gndpo.data.rows import Row
from gndpo.metrics import mean
from gndpo.policy import Policy
from gndpo.prompts import Prompts, make_prompts
from gndpo.rewards import Reward
from gndpo.rng import uniform
from gndpo.rollout import Answers, generate

Grade = Callable[[str, str], Reward]

BATCH = 128
"""Prompts per forward."""


def evaluate(
    policy: Policy,
    processor: Any,
    rows: Sequence[Row],
    reward: Grade,
    *,
    k: int,
    max_tokens: int,
    seed: int,
    device: torch.device,
) -> dict[str, float]:
    """acc_1: greedy accuracy. acc_k, pass_k: mean, and any, over k samples. blind: greedy without
    the image. Fractions of 1.

    format, truncated, length: of the greedy answers. acc_1/<kind>: greedy accuracy per kind of
    question.
    """
    totals: dict[str, list[float]] = defaultdict(list)
    for start in range(0, len(rows), BATCH):
        part = rows[start : start + BATCH]
        prompts = make_prompts(part, processor).to(device)
        for rendering, prefix in (("image", ""), ("text", "blind")):
            answers = generate(
                policy,
                prompts.renderings[rendering],
                group=1,
                max_tokens=max_tokens,
                uniform_BT=None,
            )
            rewards = grade(answers, prompts, processor, reward)
            if prefix:
                totals["blind"] += [r.correct for r in rewards]
                continue
            totals["acc_1"] += [r.correct for r in rewards]
            totals["format"] += [r.formatted for r in rewards]
            totals["truncated"] += answers.truncated_B.tolist()
            totals["length"] += answers.length_B.tolist()
            for row, r in zip(part, rewards, strict=True):
                totals[f"acc_1/{row['kind']}"].append(r.correct)
        if k > 0:
            draws = uniform(
                seed, "evaluation", 0, range(start * k, (start + len(part)) * k), max_tokens
            )
            uniform_BT = torch.from_numpy(draws).to(device)
            answers = generate(
                policy,
                prompts.renderings["image"],
                group=k,
                max_tokens=max_tokens,
                uniform_BT=uniform_BT,
            )
            correct = [r.correct for r in grade(answers, prompts, processor, reward)]
            groups = [correct[i : i + k] for i in range(0, len(correct), k)]
            totals["acc_k"] += [mean(group) for group in groups]
            totals["pass_k"] += [max(group) for group in groups]
    return {f"eval/{name}": mean(values) for name, values in totals.items()}


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
