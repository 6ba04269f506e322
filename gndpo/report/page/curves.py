"""Every metric of every run, and the band of every arm, thinned to what a screen can show."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from gndpo.metric_names import METRICS
from gndpo.report.arms import Arm
from gndpo.report.curves import band
from gndpo.report.load import Floats, Row, Run, eval_rows, series
from gndpo.report.page.thinning import even, thin

POINTS = 1_500_000  # of all curves of a page together
FEWEST, MOST = 80, 800  # of one curve
BAND_POINTS = 60  # a band is smoothed over a thirtieth of its length
VALIDATION = "validation/"
EVALUATED = {
    "acc_1": "greedy accuracy on validation questions",
    "acc_k": "accuracy of answers sampled at T=1",
    "pass_k": "share of questions with a right answer among the sampled ones",
    "blind": "greedy accuracy without the image",
    "format": "share of well-formed answers",
    "truncated": "share of answers without an end",
    "timeouts": "share of answers that no grader could finish in time",
    "length": "mean answer length, tokens",
}

Read = Callable[[Run], tuple[Floats, Floats]]


def names(runs: Sequence[Run]) -> list[str]:
    """The metrics that runs have logged: validation first, then in the order of METRICS."""
    evaluated = _numbers(row for run in runs for row in eval_rows(run, "student", "validation"))
    logged = _numbers(row for run in runs for row in run.metrics)
    order = list(METRICS)
    known = [name for name in order if name in logged]
    others = sorted(set(logged) - set(known), key=lambda name: (_place(name, order), name))
    shown = [VALIDATION + name.removeprefix("eval/") for name in evaluated]
    return [*shown, *known, *others]


def meaning(name: str) -> str:
    """What a metric is: its entry, or that of its family (`note/<name>`), or nothing."""
    if name.startswith(VALIDATION):
        key = name.removeprefix(VALIDATION)
        kind = key.partition("/")[2]
        return f"greedy accuracy on questions of kind {kind}" if kind else EVALUATED.get(key, "")
    family = next((key for key in METRICS if "<" in key and name.startswith(_stem(key))), "")
    return METRICS.get(name) or METRICS.get(family, "")


def reader(name: str) -> Read:
    """Reads one metric of a run: steps and values."""
    if name.startswith(VALIDATION):
        key = f"eval/{name.removeprefix(VALIDATION)}"
        return lambda run: series(eval_rows(run, "student", "validation"), key)
    return lambda run: series(run.metrics, name)


def budget(runs: int, metrics: int) -> int:
    """Points that one curve may have."""
    return int(np.clip(POINTS // max(1, runs * metrics), FEWEST, MOST))


def curves(name: str, runs: Sequence[Run], arms: Sequence[Arm], points: int) -> dict[str, Any]:
    """One metric: per run its steps and values, thinned; per arm its band, linear and on a log
    scale."""
    read = reader(name)
    found = {run.folder: _finite(*read(run)) for run in runs}
    lines = [_line(*found[run.folder], points) for run in runs]
    return {
        "runs": lines,
        "arms": [_bands([found[run.folder] for run in arm.shown]) for arm in arms],
    }


def _line(steps: Floats, values: Floats, points: int) -> list[list[float]] | None:
    if not len(steps):
        return None
    kept = thin(values, points)
    return [steps[kept].astype(int).tolist(), values[kept].tolist()]


def _bands(seeds: Sequence[tuple[Floats, Floats]]) -> list[Any]:
    """The band around the mean, and that around the geometric mean where all is positive."""
    positive = all((values > 0).all() for _, values in seeds)
    return [_band(seeds, False), _band(seeds, True) if positive else None]


def _band(seeds: Sequence[tuple[Floats, Floats]], log: bool) -> list[list[float]] | None:
    """Steps and mean; low and high too where there are several seeds."""
    line = band([seed for seed in seeds if len(seed[0])], log)
    if line is None:
        return None
    kept = even(len(line.steps), BAND_POINTS)
    several = [line.low, line.high] if len(line.raw) > 1 else []
    parts = [curve[kept].tolist() for curve in (line.middle, *several)]
    return [line.steps[kept].astype(int).tolist(), *parts]


def _finite(steps: Floats, values: Floats) -> tuple[Floats, Floats]:
    keep = np.isfinite(values)
    return steps[keep], values[keep]


def _numbers(rows: Iterable[Row]) -> list[str]:
    """Names of the numbers in rows, in order of appearance."""
    found: dict[str, None] = {}
    for row in rows:
        new = [key for key in row if "/" in key and key not in found]
        found.update(dict.fromkeys(key for key in new if isinstance(row[key], int | float)))
    return list(found)


def _stem(family: str) -> str:
    return family.partition("<")[0]


def _place(name: str, order: Sequence[str]) -> int:
    """Where a metric belongs that METRICS does not name: beside its family, else at the end."""
    near = [i for i, key in enumerate(order) if "<" in key and name.startswith(_stem(key))]
    return near[0] if near else len(order)
