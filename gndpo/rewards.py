"""Grading answers. Nothing here raises on what a model wrote: an answer that cannot be parsed is
wrong."""

import logging
import re
from dataclasses import dataclass

FORMAT = re.compile(r"\s*<think>.*</think>.*\\boxed\{.*\}.*", re.DOTALL)
"""Reasoning first, then a boxed answer: the format that the papers train."""

LONGEST_ANSWER = 256
"""Characters of a boxed answer that are still parsed; symbolic parsing of more can take minutes."""


@dataclass(frozen=True)
class Reward:
    """total = (1 - format_weight) * correct + format_weight * well-formed; the released GNDPO
    code uses 0.1."""

    total: float
    correct: float
    formatted: float


def boxed_reward(text: str, answer: str, *, format_weight: float) -> Reward:
    """Grade the last \\boxed{} of an answer against the ground truth."""
    boxed = last_boxed(text)
    correct = float(boxed is not None and same(boxed, answer))
    formatted = float(FORMAT.fullmatch(text) is not None)
    return Reward((1 - format_weight) * correct + format_weight * formatted, correct, formatted)


def last_boxed(text: str) -> str | None:
    """What stands between the braces of the last \\boxed{...}; None without one, or with
    unbalanced braces."""
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    depth = 0
    for i in range(start + len("\\boxed"), len(text)):
        depth += {"{": 1, "}": -1}.get(text[i], 0)
        if depth == 0:
            return text[start + len("\\boxed{") : i].strip()
    return None


def same(written: str, truth: str) -> bool:
    """Equal as text, as numbers, or, where neither is a plain number, as mathematics
    (math-verify)."""
    written, truth = "".join(written.split()), "".join(truth.split())
    if written == truth:
        return True
    try:
        return float(written) == float(truth)
    except ValueError:
        return len(written) <= LONGEST_ANSWER and equivalent(written, truth)


def equivalent(written: str, truth: str) -> bool:
    from math_verify import (
        parse,
        verify,
    )  # half a second to import, needed only for symbolic answers

    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    sides = [parse(f"${x}$", parsing_timeout=None, raise_on_error=False) for x in (truth, written)]
    return bool(verify(*sides, timeout_seconds=None, raise_on_error=False))
