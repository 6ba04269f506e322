"""Answers as plain data: what tokens.json holds of each, images included."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from gndpo.data.rows import MARKER
from gndpo.evaluation import decode
from gndpo.inspection.signals import Seen
from gndpo.loggers.pictures import encoded
from gndpo.models.processor import Processor
from gndpo.prompts import Prompts
from gndpo.rewards import Reward
from gndpo.rollout import Answers

DIGITS = 4
"""Significant digits of a stored number."""


def records(
    prompts: Prompts,
    answers: Answers,
    rewards: Sequence[Reward],
    seen: Seen,
    processor: Processor,
) -> list[dict[str, Any]]:
    """Every answer, in order; answer i belongs to prompt i // G. Rows without an image have no
    column `visual`."""
    G = len(rewards) // len(prompts)
    pictures = [[encoded(image) for image in row["images"]] for row in prompts.rows]
    texts = decode(answers, processor)
    found = []
    for b, reward in enumerate(rewards):
        row, images, T = prompts.rows[b // G], pictures[b // G], int(answers.length_B[b])
        numbers = rows_of(seen.columns, b, T)
        if not images:
            numbers.pop("visual", None)
        found.append(
            {
                "prompt": row["problem"].replace(MARKER, "").strip(),
                "images": images,
                "truth": row["answer"],
                "kind": row["kind"],
                "text": texts[b],
                "reward": rounded(reward.total),
                "correct": reward.correct == 1,
                "tokens": {
                    "text": token_texts(processor.tokenizer, answers.ids_BT[b, :T].tolist()),
                    **numbers,
                },
                "advantages": rows_of(seen.advantages, b, T),
                "losses": rows_of(seen.losses, b, T),
                "notes": rows_of(seen.notes, b, T),
            }
        )
    return found


def rows_of(tensors: Mapping[str, Tensor], b: int, T: int) -> dict[str, list[Any]]:
    """An answer's numbers, by name."""
    return {name: [*map(rounded, x_BT[b, :T].tolist())] for name, x_BT in tensors.items()}


def rounded(x: float) -> float | None:
    """To DIGITS significant digits; whole numbers as they are, and None for what JSON lacks."""
    if isinstance(x, int):
        return x
    return float(f"{x:.{DIGITS}g}") + 0.0 if math.isfinite(x) else None  # + 0.0: no minus zero


def token_texts(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """What each token adds to the text of the one before it, spaces included; of a character whose
    bytes several tokens share, some are U+FFFD. ids: at least one, since an EOS counts."""
    before = [[], *([i] for i in ids[:-1])]
    alone = tokenizer.batch_decode(before)
    behind = tokenizer.batch_decode([[*one, i] for one, i in zip(before, ids, strict=True)])
    return [text[len(start) :] for start, text in zip(alone, behind, strict=True)]
