"""Figures of measured steps."""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from benchmarks.cases import IDENTICAL
from benchmarks.records import Record
from gndpo.report.labels import label_ends, plain_ticks
from gndpo.report.palette import COLOURS, DASHES, GREY, INK, SPARE_COLOURS, STYLE, Look

THEIRS, OURS = IDENTICAL
WIDTH, ROW, FRAME = 8.0, 0.24, 1.3  # inches: the figure, a row, everything around the rows
HEIGHT = 3.6
"""Inches of the figure of growth."""
FILLED = {1: COLOURS["full_kl"], 2: "none"}
"""By threads."""


@dataclass(frozen=True)
class Line:
    """What an axis does to a step: its values, seconds, megabytes."""

    name: str
    values: Sequence[int]
    seconds: Sequence[float]
    megabytes: Sequence[float]


def draw_compare(shown: Sequence[Record], path: Path) -> None:
    """A row per case: our steps per second, and our peak memory, over TRL's."""
    labels = list(dict.fromkeys(record.case.label for record in shown))
    with plt.rc_context(STYLE):
        figure, (left, right) = plt.subplots(
            1,
            2,
            figsize=(WIDTH, FRAME + ROW * len(labels)),
            layout="constrained",
            sharey=True,
            width_ratios=(5, 3),
        )
        for record in shown:
            y, threads = labels.index(record.case.label), record.case.threads
            dot(left, record.faster(OURS, THEIRS), y, threads)
            dot(right, record.smaller(OURS, THEIRS), y, threads)
        left.set_yticks(range(len(labels)), labels)
        left.set_ylim(len(labels) - 0.5, -0.5)
        caption = "Dots: 1 thread. Circles: 2 threads. Upright line: TRL."
        figure.supxlabel(caption, fontsize=8, color=GREY, x=0.01, ha="left")
        finish(left, "steps/s, ours over TRL's")
        finish(right, "peak memory, ours over TRL's")
        figure.savefig(path)
        plt.close(figure)


def dot(axes: Axes, value: float, y: int, threads: int) -> None:
    colour = COLOURS["full_kl"]
    axes.plot([1, value], [y, y], color=colour, lw=1, alpha=0.35, zorder=1)
    axes.plot(value, y, "o", ms=6, color=colour, mfc=FILLED[threads], zorder=3)


def finish(axes: Axes, title: str) -> None:
    """A line at 1: as TRL."""
    low, high = axes.get_xlim()
    axes.set_xlim(min(0.0, low), max(1.2, high))
    axes.axvline(1, color=INK, lw=1)
    axes.grid(axis="x")
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.set_title(title)


def draw_growth(lines: Sequence[Line], path: Path) -> None:
    """Seconds and memory against how many times an axis's first value its others are."""
    colours = (*COLOURS.values(), *SPARE_COLOURS)
    look_of = {
        line.name: Look(colour, DASHES[0]) for line, colour in zip(lines, colours, strict=False)
    }
    with plt.rc_context(STYLE):
        figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, HEIGHT), layout="constrained")
        for axes, title, read in (
            (left, "seconds per step", attrgetter("seconds")),
            (right, "memory that steps add, MB", attrgetter("megabytes")),
        ):
            axes.set(xscale="log", yscale="log", title=title, xlabel="times the first value")
            for line in lines:
                times = [value / line.values[0] for value in line.values]
                axes.plot(times, read(line), "o-", ms=4, lw=1.5, color=look_of[line.name].colour)
            label_ends(axes, {line.name: read(line)[-1] for line in lines}, look_of)
            plain_ticks(axes)
            plain_ticks(axes, "x")
        figure.savefig(path)
        plt.close(figure)
