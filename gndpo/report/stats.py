"""The numbers of the report, as pure functions of plain sequences."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from gndpo.report.load import Floats

CONFIDENCE = 0.95
SPIKE_FACTOR = 5.0
SPIKE_WINDOW = 50  # steps before the judged one
SPIKE_HISTORY = 10  # so many finite norms must come before a step for it to be judged
REGAIN_EVALS = 3  # evaluations in which lost accuracy may come back


@dataclass(frozen=True)
class Interval:
    """Mean over seeds, half the width of its 95% interval (None for one seed), and the range."""

    mean: float
    half: float | None
    n: int
    least: float
    most: float

    @property
    def low(self) -> float:
        return self.mean - (self.half or 0.0)

    @property
    def high(self) -> float:
        return self.mean + (self.half or 0.0)


def interval(values: Sequence[float]) -> Interval:
    """mean +- t(0.975, n-1) * s / sqrt(n), with s the sample standard deviation (n-1)."""
    x = np.asarray(values, dtype=np.float64)
    half = t_half_width(x[:, None])[0] if len(x) > 1 else None
    return Interval(
        float(x.mean()),
        None if half is None else float(half),
        len(x),
        float(x.min()),
        float(x.max()),
    )


def t_half_width(values_NS: Floats) -> Floats:
    """Half the width of the 95% t interval of the mean over N seeds, for each of S steps."""
    n = len(values_NS)
    quantile = float(stdtrit(n - 1, 0.5 + CONFIDENCE / 2))
    half_S: Floats = quantile * values_NS.std(axis=0, ddof=1) / math.sqrt(n)
    return half_S


def gain(accuracy: float | None, base: float | None) -> float | None:
    """accuracy - base, where both were measured."""
    return None if accuracy is None or base is None else accuracy - base


def gap_closed(accuracy: float | None, base: float | None, teacher: float | None) -> float | None:
    """(accuracy - base) / (teacher - base).

    None where one of them was not measured or the teacher is not the better one.
    """
    if accuracy is None or base is None or teacher is None or teacher <= base:
        return None
    return (accuracy - base) / (teacher - base)


def median(values: Floats) -> float | None:
    """Median of the finite values."""
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else None


def tail_ratio(norms: Floats) -> float | None:
    """99th percentile / median of the finite norms: 1 is a flat curve, whatever its scale."""
    finite = norms[np.isfinite(norms)]
    middle = median(norms)
    return float(np.quantile(finite, 0.99)) / middle if middle else None


def variation(norms: Floats) -> float | None:
    """Coefficient of variation, population standard deviation / mean, of the finite norms."""
    finite = norms[np.isfinite(norms)]
    return float(finite.std() / finite.mean()) if len(finite) and finite.mean() else None


def spikes(norms: Floats) -> int | None:
    """How many steps spiked; nothing where none could be judged."""
    return len(spike_places(norms)) if len(norms) > SPIKE_HISTORY else None


def spike_places(norms: Floats) -> npt.NDArray[np.intp]:
    """Indices of the norms over 5 times the median of the finite norms in the 50 steps before.

    The first steps, with fewer than 10 finite norms before them, are not judged. Infinity is a
    spike, NaN is none; a run writes null for both, which is no norm here but a skipped step.
    """
    finite = np.where(np.isfinite(norms), norms, np.nan)
    padded = np.concatenate([np.full(SPIKE_WINDOW, np.nan), finite])
    before = np.lib.stride_tricks.sliding_window_view(padded, SPIKE_WINDOW)[: len(norms)]
    judged = (~np.isnan(before)).sum(axis=1) >= SPIKE_HISTORY
    medians = np.full(len(norms), np.inf)
    medians[judged] = np.nanmedian(before[judged], axis=1)
    return np.flatnonzero(norms > SPIKE_FACTOR * medians)


def lost_accuracy(accuracies: Floats) -> float | None:
    """Largest accuracy lost and not regained within the next 3 evaluations, as a fraction.

    max over evaluations t of max(a_0..a_{t-1}) - max(a_t..a_{t+3}), at least 0. Near the end the
    window is cut: what was lost by then and never came back counts.
    """
    if len(accuracies) < 2:
        return None
    losses = [
        accuracies[:t].max() - accuracies[t : t + REGAIN_EVALS + 1].max()
        for t in range(1, len(accuracies))
    ]
    return max(0.0, float(max(losses)))


def tail_mean(values: Floats, share: float = 0.1) -> float | None:
    """Mean of the finite values among the last tenth (at least the last one)."""
    finite = values[np.isfinite(values)]
    count = max(1, round(share * len(finite)))
    return float(finite[-count:].mean()) if len(finite) else None
