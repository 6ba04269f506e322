"""Arms compared seed by seed: runs of one seed answer the same prompts from the same start, so
their difference varies less than either."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table
from scipy.special import stdtr

from gndpo.report.arms import Arm
from gndpo.report.measures import measure
from gndpo.report.stats import interval
from gndpo.report.table import MISSING, digits, points

MEASURES = {"accuracy": "accuracy, points", "accuracy_t1": "at T=1, points"}
ROUNDING = 1e-12
NOTE = (
    "Mean ± 95% t interval of the differences per seed; p: paired t test, two-sided, no correction "
    "for many comparisons; d: mean over standard deviation of the differences."
)


@dataclass(frozen=True)
class Paired:
    """Mean of this arm - that arm over n seeds that both have; half: half the width of its 95% t
    interval; p: two-sided, of the paired t test; effect: mean / standard deviation. None with one
    seed, or where nothing varies."""

    difference: float
    half: float | None
    p: float | None
    effect: float | None
    n: int


def paired(ours: Mapping[int, float], theirs: Mapping[int, float]) -> Paired | None:
    """Numbers by seed. t = mean / (s / sqrt(n)) of the differences, n - 1 degrees of freedom."""
    common = sorted(ours.keys() & theirs.keys())
    if not common:
        return None
    x = np.array([ours[seed] - theirs[seed] for seed in common])
    over, n = interval(x.tolist()), len(x)
    mean = 0.0 if abs(over.mean) < ROUNDING else over.mean
    spread = float(x.std(ddof=1)) if n > 1 else 0.0
    if spread < ROUNDING * max(1.0, float(np.abs(x).max())):
        return Paired(mean, over.half, None, None, n)
    p = 2 * float(stdtr(n - 1, -abs(mean) / (spread / sqrt(n))))
    return Paired(mean, over.half, p, mean / spread, n)


def rows(arms: Sequence[Arm]) -> list[list[str]]:
    """A line per arm after the first, which it is compared with; none where no two arms share two
    seeds."""
    first, *others = [(arm.name, by_seed(arm)) for arm in arms] or [("", {})]
    found = [
        (name, [paired(numbers.get(key, {}), first[1].get(key, {})) for key in MEASURES])
        for name, numbers in others
    ]
    if not any(pair and pair.n > 1 for _, pairs in found for pair in pairs):
        return []
    return [[name, *(cell for pair in pairs for cell in cells(pair))] for name, pairs in found]


def by_seed(arm: Arm) -> dict[str, dict[int, float]]:
    """The arm's completed runs: {measure: {seed: value}}."""
    measured = {run.seed: measure(run) for run in arm.completed}
    return {
        key: {seed: x for seed, of in measured.items() if (x := of[key]) is not None}
        for key in MEASURES
    }


def cells(pair: Paired | None) -> list[str]:
    """`-6.2 ± 2.5`, p and d."""
    if pair is None:
        return [MISSING] * 3
    half = "" if pair.half is None else f" ± {points(pair.half).lstrip('+')}"
    rest = (MISSING if x is None else digits(x) for x in (pair.p, pair.effect))
    return [points(pair.difference) + half, *rest]


def header() -> list[str]:
    return ["", *(title for name in MEASURES.values() for title in (name, "p", "d"))]


def title(arms: Sequence[Arm]) -> str:
    return f"Seed by seed, against {arms[0].name}"


def markdown(arms: Sequence[Arm]) -> list[str]:
    """Heading, table and note; nothing where there is nothing to pair."""
    lines = rows(arms)
    if not lines:
        return []
    ruled = [header(), ["---", *["---:"] * (len(header()) - 1)], *lines]
    return [
        f"## {title(arms)}",
        "\n".join(f"| {' | '.join(line)} |" for line in ruled),
        NOTE,
    ]


def terminal(arms: Sequence[Arm]) -> Table | None:
    """The same for a terminal."""
    lines = rows(arms)
    if not lines:
        return None
    table = Table(title=title(arms), title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    table.pad_edge, table.collapse_padding = False, True
    for index, name in enumerate(header()):
        table.add_column(name, justify="right" if index else "left", no_wrap=True)
    for line in lines:
        table.add_row(*line)
    return table
