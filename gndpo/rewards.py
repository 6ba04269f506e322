"""What an answer earns: a weighted sum of graded parts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from gndpo.data.rows import Row
from gndpo.errors import UserError
from gndpo.grading.graders import Grader, Verdict, Work, mathematics, think_boxed
from gndpo.grading.pool import workers as shared_workers


@dataclass(frozen=True)
class Reward:
    """total = sum of weight * part. parts: in [0, 1] each, accuracy among them. timed_out: a part
    could not be graded and is 0."""

    total: float
    parts: Mapping[str, float]
    timed_out: bool = False

    @property
    def correct(self) -> float:
        return self.parts["accuracy"]


Grade = Callable[[Sequence[str], Sequence[Row]], list[Reward]]
"""(answers, the row of each) -> rewards."""


def composite(
    *, weights: Mapping[str, float], parts: Mapping[str, Grader], workers: int, timeout: float
) -> Grade:
    """Grade answers by `parts`, weighted. workers: processes for what may hang, started when first
    needed. timeout: seconds of processor time per answer and part; an answer that takes longer is
    0 in that part."""
    if "accuracy" not in parts:
        raise UserError(
            f"reward.parts has {', '.join(parts) or 'nothing'}; one part must be named accuracy"
        )
    if set(weights) != set(parts):
        raise UserError(
            f"reward.weights names {', '.join(sorted(weights))}, reward.parts "
            f"{', '.join(sorted(parts))}; give every part one weight"
        )
    if workers < 1 or timeout <= 0:
        raise UserError(
            f"reward.workers={workers} and reward.timeout={timeout} must be at least 1 and above 0"
        )
    graders = {name: plain(grader) for name, grader in parts.items()}
    return partial(graded, weights=dict(weights), parts=graders, workers=workers, timeout=timeout)


def plain(value: Any) -> Any:
    """Without Hydra's own partials at any depth: they check their target at every call, which
    takes longer than grading."""
    if isinstance(value, partial):
        keywords = {name: plain(inner) for name, inner in value.keywords.items()}
        return partial(value.func, *value.args, **keywords)
    if isinstance(value, Mapping):
        return {name: plain(inner) for name, inner in value.items()}
    return value


def graded(
    texts: Sequence[str],
    rows: Sequence[Row],
    *,
    weights: Mapping[str, float],
    parts: Mapping[str, Grader],
    workers: int,
    timeout: float,
) -> list[Reward]:
    """What `composite` does to a batch of answers."""
    verdicts = [
        {name: grader(text, row) for name, grader in parts.items()}
        for text, row in zip(texts, rows, strict=True)
    ]
    work = [v for of_text in verdicts for v in of_text.values() if isinstance(v, Work)]
    done = shared_workers(workers, timeout).run(work)
    return [reward(of_text, weights, done) for of_text in verdicts]


def reward(
    verdicts: Mapping[str, Verdict],
    weights: Mapping[str, float],
    done: Mapping[Work, float | None],
) -> Reward:
    found = {name: done[v] if isinstance(v, Work) else v for name, v in verdicts.items()}
    parts = {name: 0.0 if x is None else x for name, x in found.items()}
    total = sum(weights[name] * x for name, x in parts.items())
    return Reward(total, parts, timed_out=None in found.values())


def boxed_reward(
    texts: Sequence[str], rows: Sequence[Row], *, format_weight: float
) -> list[Reward]:
    """(1 - format_weight) * correct + format_weight * well-formed, for code without a
    configuration; the released GNDPO code uses 0.1."""
    make = composite(
        weights={"accuracy": 1 - format_weight, "format": format_weight},
        parts={"accuracy": partial(mathematics, read="boxed"), "format": think_boxed},
        workers=1,
        timeout=5.0,
    )
    return make(texts, rows)
