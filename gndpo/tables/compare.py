"""Two rows of a table compared over the questions of a benchmark; over seeds: report/paired.py."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import bdtr

from gndpo.report.load import Floats, read_rows
from gndpo.tables.definition import Column
from gndpo.tables.measured import Found

RESAMPLES = 2000
GREEDY = -1
"""The draw of a greedy answer in a file of answers; samples are 0, 1, ..."""


@dataclass(frozen=True)
class Questions:
    """Mean difference over n questions that both answered; low, high: its 95% bootstrap interval
    over questions, the weights as they are. p: McNemar's exact test, of one greedy answer each."""

    difference: float
    low: float
    high: float
    n: int
    p: float | None


def over_questions(
    ours: Mapping[int, Found], theirs: Mapping[int, Found], column: Column
) -> Questions | None:
    """A question's value is the share of its right answers, over the seeds that both have."""
    common = sorted(ours.keys() & theirs.keys())
    pairs = [(answers(ours[s], column), answers(theirs[s], column)) for s in common]
    if not pairs or column.measure not in ("acc_1", "acc_k"):
        return None
    known = sorted(set.intersection(*(set(x) for pair in pairs for x in pair)))
    if not known:
        return None
    ours_SQ = np.array([[mine[q] for q in known] for mine, _ in pairs])
    theirs_SQ = np.array([[other[q] for q in known] for _, other in pairs])
    x_Q = (ours_SQ - theirs_SQ).mean(axis=0)
    low, high = bootstrap(x_Q)
    single = len(pairs) == 1 and column.measure == "acc_1"
    return Questions(float(x_Q.mean()), low, high, len(known), mcnemar(x_Q) if single else None)


def answers(found: Found, column: Column) -> dict[int, float]:
    """Share of right answers per question, from the run's answers/; {} where there are none."""
    which = "teacher" if found.who == "teacher" else f"step{found.step}"
    file = found.run.folder / "answers" / f"{column.benchmark}-{which}.jsonl"
    return dict(graded(file, greedy=column.measure == "acc_1"))


def graded(file: Path, *, greedy: bool) -> Iterator[tuple[int, float]]:
    """Index and share of right answers of every question; of lines, what gndpo-eval would not have
    written is left out."""
    for line in read_rows(file)[0]:
        index, given = line.get("index"), line.get("answers")
        found = [accuracy(x, greedy=greedy) for x in given] if isinstance(given, list) else []
        right = [x for x in found if x is not None]
        if right and isinstance(index, int):
            yield index, sum(right) / len(right)


def accuracy(answer: Any, *, greedy: bool) -> float | None:
    """Of an answer that is greedy, or sampled, as asked, and was graded."""
    match answer:
        case {"draw": int(draw), "parts": {"accuracy": int() | float() as x}} if 0 <= x <= 1:
            return float(x) if (draw == GREEDY) == greedy else None
    return None


def bootstrap(x_Q: Floats) -> tuple[float, float]:
    """2.5% and 97.5% quantiles of the mean of as many questions, drawn with replacement."""
    rng = np.random.default_rng(0)
    means = [x_Q[rng.integers(len(x_Q), size=len(x_Q))].mean() for _ in range(RESAMPLES)]
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def mcnemar(x_Q: Sequence[float] | Floats) -> float:
    """min(1, 2 P(X <= min(b, c))), X binomial of b + c tries at 1/2; b, c: questions that one side
    alone got right."""
    b, c = (int((np.asarray(x_Q) * sign > 0).sum()) for sign in (1, -1))
    return min(1.0, 2 * float(bdtr(min(b, c), b + c, 0.5))) if b + c else 1.0
