"""Fewer points of a curve, chosen so that every spike stays."""

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from gndpo.report.load import Floats


def thin(values: Floats, most: int) -> npt.NDArray[np.intp]:
    """Indices of at most `most` points (at least 4), ascending: the first, the last, and the
    smallest and largest of each of (most - 2) / 2 equal buckets. All where no more are there."""
    if len(values) <= most:
        return np.arange(len(values))
    spans = buckets(len(values), (most - 2) // 2)
    lowest = [span.start + int(values[span].argmin()) for span in spans]
    highest = [span.start + int(values[span].argmax()) for span in spans]
    return np.unique([0, *lowest, *highest, len(values) - 1])


def even(count: int, most: int) -> npt.NDArray[np.intp]:
    """At most `most` of `count` indices, equally far apart, first and last included."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))


def buckets(count: int, most: int) -> list[slice]:
    """`count` neighbours in at most `most` runs of nearly equal length."""
    edges = np.linspace(0, count, min(count, most) + 1).astype(int).tolist()
    return [slice(a, b) for a, b in pairwise(edges)]
