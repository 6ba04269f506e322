"""Words and numbers beside a panel: names at the ends of lines, plain ticks on a log axis."""

from collections.abc import Mapping, Sequence
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from gndpo.report.palette import Look

Ends = dict[str, float]  # arm: the last value of its line
LABEL_GAP = 0.055  # least distance of two labels, in heights of the axes


def plain_ticks(axes: Axes, along: Literal["x", "y"] = "y") -> None:
    """1, 2, 5, 10 instead of powers of ten; only 1, 10, 100 over more than two decades."""
    axis = axes.xaxis if along == "x" else axes.yaxis
    low, high = axis.get_view_interval()
    subs = (1.0, 2.0, 5.0) if high < 100 * low else (1.0,)
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def label_ends(axes: Axes, ends: Ends, look_of: Mapping[str, Look]) -> None:
    """Each line's name at its right end, pushed apart where they would overlap."""
    axes.margins(x=0.01)
    axes.get_ylim()  # settles the limits, which place the labels
    to_axes = axes.transData + axes.transAxes.inverted()
    placed = sorted((float(to_axes.transform((1, end))[1]), name) for name, end in ends.items())
    heights = spread([height for height, _ in placed], LABEL_GAP)
    for height, (_, name) in zip(heights, placed, strict=True):
        axes.text(
            1.01,
            height,
            name,
            transform=axes.transAxes,
            color=look_of[name].colour,
            va="center",
            fontsize=8.5,
            fontweight="bold",
        )


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Ascending heights in [0, 1], moved as little as needed to lie at least `gap` apart.

    Overlapping neighbours form a block, centred on the mean of its members and kept in [0, 1].
    """
    gap = min(gap, 1 / max(1, len(heights)))
    blocks: list[list[float]] = []
    for height in heights:
        blocks.append([height])
        while len(blocks) > 1 and _start(blocks[-1], gap) < _stop(blocks[-2], gap):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    return [_start(block, gap) + i * gap for block in blocks for i in range(len(block))]


def _start(block: Sequence[float], gap: float) -> float:
    length = gap * (len(block) - 1)
    return min(max(sum(block) / len(block) - length / 2, 0.0), 1.0 - length)


def _stop(block: Sequence[float], gap: float) -> float:
    """Where the block after this one may start."""
    return _start(block, gap) + gap * len(block)
