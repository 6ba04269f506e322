"""A few answers per step, token by token, for people to read."""

from collections.abc import Sequence
from typing import Any

from gndpo.loggers.pictures import encoded
from gndpo.models.processor import Processor
from gndpo.prompts import Prompts
from gndpo.rewards import Reward
from gndpo.rollout import Answers
from gndpo.scores import AUTHORS, Scores
from gndpo.signal import Signal


def samples(
    processor: Processor,
    prompts: Prompts,
    answers: Answers,
    scores: Scores,
    signal: Signal,
    rewards: Sequence[Reward],
    count: int,
    pictured: bool,
) -> list[dict[str, Any]]:
    """The first answer of each of the first `count` prompts: rendered prompt, reward, and per
    token its id, text and scores. pictured: with the images, as PNG."""
    G = len(answers.ids_BT) // len(prompts)
    return [
        {
            "prompt": prompts.texts[p],
            "truth": prompts.rows[p]["answer"],
            "reward": rewards[p * G].total,
            "correct": rewards[p * G].correct,
            "tokens": tokens(processor, p * G, answers, scores, signal),
            **({"images": [encoded(x) for x in prompts.rows[p]["images"]]} if pictured else {}),
        }
        for p in range(min(count, len(prompts)))
    ]


def tokens(
    processor: Processor, b: int, answers: Answers, scores: Scores, signal: Signal
) -> dict[str, list[Any]]:
    """One answer as columns: text, ids, who wrote them, log-probabilities in nats, advantage,
    notes."""
    T = int(answers.length_B[b])
    ids = answers.ids_BT[b, :T].tolist()
    columns = {
        "student": scores.student.logp_BT,
        "teacher": scores.teacher.logp_BT,
        "advantage": signal.advantage_BT,
        **signal.notes,
    }
    numbers = {name: [round(float(x), 4) for x in x_BT[b, :T]] for name, x_BT in columns.items()}
    author = [AUTHORS[who] for who in answers.author_BT[b, :T].tolist()]
    text = processor.tokenizer.convert_ids_to_tokens(ids)
    return {"text": text, "id": ids, "author": author, **numbers}
