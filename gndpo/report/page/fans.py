"""How the values of all tokens of a step are distributed, over training."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gndpo.report.arms import Arm
from gndpo.report.load import Floats, Run, series
from gndpo.report.page.thinning import buckets

FAMILIES = {"log_ratio": "teacher/log_ratio_", "advantage": "advantage/"}
QUANTILES = ("min", "p01", "p05", "p25", "p50", "p75", "p95", "p99", "max")
POINTS = 80_000  # of the quantiles of all arms together
FEWEST, MOST = 40, 200  # along one curve

REDUCE = {"min": np.min, "max": np.max}
"""Over seeds and within a bucket: the extremes stay, other quantiles are averaged."""


def fans(family: str, arms: Sequence[Arm]) -> list[Any]:
    """Per arm the steps and the quantiles that its runs have logged, None where none did."""
    points = int(np.clip(POINTS // max(1, len(arms) * len(QUANTILES)), FEWEST, MOST))
    return [_fan([_read(run, FAMILIES[family]) for run in arm.shown], points) for arm in arms]


def _read(run: Run, prefix: str) -> dict[str, dict[float, float]]:
    """{quantile: {step: value}}, without quantiles that the run lacks."""
    found = {name: series(run.metrics, prefix + name) for name in QUANTILES}
    return {
        name: {s: v for s, v in zip(*curve, strict=True) if np.isfinite(v)}
        for name, curve in found.items()
        if len(curve[0])
    }


def _fan(seeds: Sequence[Mapping[str, Mapping[float, float]]], points: int) -> Any:
    """Over seeds at the steps that all have."""
    logged = [seed for seed in seeds if seed]
    names = [name for name in QUANTILES if logged and all(name in seed for seed in logged)]
    shared = [set(seed[name]) for seed in logged for name in names]
    steps = sorted(set.intersection(*shared)) if shared else []
    if not steps:
        return None
    places = buckets(len(steps), points)
    found = {}
    for name in names:
        values_NS = np.array([[seed[name][step] for step in steps] for seed in logged])
        found[name] = _reduced(name, values_NS, places)
    return {"steps": [int(steps[place.start]) for place in places], "quantiles": found}


def _reduced(name: str, values_NS: Floats, places: Sequence[slice]) -> list[float]:
    reduce = REDUCE.get(name, np.mean)
    return [float(reduce(values_NS[:, place])) for place in places]
