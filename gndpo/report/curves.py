"""A metric of several seeds as one line with a band."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gndpo.report.load import Floats
from gndpo.report.stats import t_half_width

SMOOTHED_FROM = 100  # points: shorter curves are drawn as they are
FEW = 5  # seeds: the t interval of fewer is several times their range and hides the curves
SMOOTHING = 30  # a window is this share of the curve


@dataclass(frozen=True)
class Band:
    """Over steps: every seed as measured, the (lightly smoothed) mean, and its band."""

    steps: Floats
    raw: Floats  # [seeds, steps]
    middle: Floats
    low: Floats
    high: Floats
    smoothed: bool


def band(seeds: Sequence[tuple[Floats, Floats]], log: bool) -> Band | None:
    """Mean over seeds at the steps that all have, with a 95% t interval, or the range of a few.

    Each seed is smoothed by a centred moving mean before; with `log`, mean and interval are those
    of the logarithm (geometric mean), so that a band stays positive. None without a drawable step.
    """
    usable = [_drawable(steps, values, log) for steps, values in seeds]
    points = [dict(zip(steps, values, strict=True)) for steps, values in usable]
    shared = sorted(set.intersection(*map(set, points))) if points else []
    if not shared:
        return None
    raw_NS = np.array([[seed[step] for step in shared] for seed in points])
    values_NS = np.log(raw_NS) if log else raw_NS
    window = _window(len(shared))
    smooth_NS = np.array([moving_mean(values, window) for values in values_NS])
    curves = _middle_low_high(smooth_NS)
    middle, low, high = (np.exp(curve) if log else curve for curve in curves)
    return Band(np.array(shared), raw_NS, middle, low, high, window > 1)


def _drawable(steps: Floats, values: Floats, log: bool) -> tuple[Floats, Floats]:
    keep = np.isfinite(values) & ((values > 0) | (not log))
    return steps[keep], values[keep]


def _middle_low_high(values_NS: Floats) -> tuple[Floats, Floats, Floats]:
    middle = values_NS.mean(axis=0)
    if len(values_NS) == 1:
        return middle, middle, middle
    if len(values_NS) < FEW:
        return middle, values_NS.min(axis=0), values_NS.max(axis=0)
    half = t_half_width(values_NS)
    return middle, middle - half, middle + half


def _window(points: int) -> int:
    return 2 * (points // (2 * SMOOTHING)) + 1 if points >= SMOOTHED_FROM else 1


def moving_mean(values: Floats, window: int) -> Floats:
    """Centred mean over an odd window; at the ends, over what there is of it."""
    kernel = np.ones(window)
    total = np.convolve(values, kernel, mode="same")
    return np.asarray(total / np.convolve(np.ones(len(values)), kernel, mode="same"))


def band_meaning(seeds: Sequence[int]) -> str:
    """What the shaded area is, given how many seeds each arm has."""
    least, most = min(seeds), max(seeds)
    if most == 1:
        return "one seed each, no band"
    count = str(most) if least == most else f"{least}-{most}"
    if most < FEW:
        return f"the range over {count} seeds"
    return f"95% t interval over {count} seeds" + (
        f", the range of fewer than {FEW}" if least < FEW else ""
    )
