"""Two settings against each other: how accurate each pair of values ended, and how steady it was.

`gndpo-report <folder...> --grid advantage optimizer.lr` draws it for runs that differ in both.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize, TwoSlopeNorm

from gndpo.errors import UserError
from gndpo.report.arms import Arm
from gndpo.report.load import Floats, Run
from gndpo.report.measures import base_measures, measure
from gndpo.report.palette import GREY, INK, STYLE
from gndpo.report.stats import gain
from gndpo.report.table import digits, points

HARM = -0.1
"""A gain below this, or a gradient that was not finite, is called diverged."""
STRONG = 0.72  # share of the colour scale beyond which dark letters cannot be read
SIZE = (1.15, 0.62)  # inches of a cell
LETTERS = 15  # of the caption to an inch


@dataclass(frozen=True)
class Cell:
    """The seeds of one pair of values: gains as fractions, tails of the gradient norm (p99 over
    median), and how many diverged."""

    gains: list[float]
    tails: list[float]
    diverged: int

    @property
    def runs(self) -> int:
        return len(self.gains)


@dataclass(frozen=True)
class Grid:
    """Cells by the values of the two keys, which are in order."""

    rows: list[Any]
    columns: list[Any]
    cells: dict[tuple[Any, Any], Cell]

    def values(self, of: Callable[[Cell], float]) -> Floats:
        """[rows, columns]; NaN where there is no completed run."""
        empty = float("nan")
        return np.array(
            [
                [of(self.cells[r, c]) if (r, c) in self.cells else empty for c in self.columns]
                for r in self.rows
            ]
        )


def grid(arms: Sequence[Arm], row: str, column: str) -> Grid:
    """The completed runs by the values of two configuration keys; `advantage` is the strategy.
    Arms that have both values in common are refused: they differ in a third key."""
    found: dict[tuple[Any, Any], Arm] = {}
    for arm in arms:
        for run in arm.completed[:1]:
            pair = value(run, row), value(run, column)
            if pair in found:
                raise UserError(
                    f"--grid {row} {column}: {found[pair].name} and {arm.name} have both values in "
                    "common; name another key, or folders whose runs differ in these two alone"
                )
            found[pair] = arm
    if not found:
        raise UserError(f"--grid {row} {column}: no run is completed yet")
    return Grid(
        rows=ordered({pair[0] for pair in found}),
        columns=ordered({pair[1] for pair in found}),
        cells={pair: cell(arm.completed) for pair, arm in found.items()},
    )


def value(run: Run, key: str) -> Any:
    """A run's value of a configuration key."""
    if key == "advantage":
        return run.strategy
    if key not in run.config:
        raise UserError(
            f"--grid {key}: {run.folder} has no such key; use advantage or a key of its "
            ".hydra/config.yaml, e.g. optimizer.lr"
        )
    if isinstance(run.config[key], list | dict):
        raise UserError(f"--grid {key}: its values are lists; name a key whose values are single")
    return run.config[key]


def ordered(values: set[Any]) -> list[Any]:
    """Numbers by size, names by letter, null first."""
    return sorted(values, key=lambda x: (x is not None, isinstance(x, str), x or 0))


def cell(runs: Sequence[Run]) -> Cell:
    gains, tails, diverged = [], [], 0
    for run in runs:
        measured = measure(run)
        gained = gain(measured["accuracy"], base_measures(run)["accuracy"])
        if gained is None:
            continue
        gains.append(gained)
        diverged += gained < HARM or bool(measured["skipped"])
        if measured["tail_ratio"] is not None:
            tails.append(measured["tail_ratio"])
    return Cell(gains, tails, diverged)


def draw_grid(found: Grid, row: str, column: str, out: Path) -> str:
    """Write grid.png: gain in points with the share that diverged, and the tail of the gradient
    norm; gives its name."""
    gains = 100 * found.values(lambda cell: float(np.mean(cell.gains)) if cell.gains else np.nan)
    tails = found.values(lambda cell: float(np.median(cell.tails)) if cell.tails else np.nan)
    most = max(1.0, float(np.nanmax(np.abs(gains), initial=1.0)))
    width = max(2 * (SIZE[0] * len(found.columns) + 1.0) + 0.9, 8.0)
    with plt.rc_context(STYLE | {"axes.grid": False}):
        figure, (left, right) = plt.subplots(
            1,
            2,
            figsize=(width, SIZE[1] * len(found.rows) + 1.7),
            layout="constrained",
            sharey=True,
        )
        draw(left, found, gains, gained, "BrBG", TwoSlopeNorm(0, -most, most))
        draw(right, found, tails, tailed, "YlOrBr", scale(tails))
        left.set_title("Gain over the base student, points")
        right.set_title("p99 / median of the gradient norm")
        left.set_ylabel(row)
        for axes in (left, right):
            axes.set_xlabel(column)
        words = fill(caption(found), int(LETTERS * width))
        figure.supxlabel(words, fontsize=8, color=GREY, x=0.01, ha="left")
        figure.savefig(out / "grid.png")
        plt.close(figure)
    return "grid.png"


def draw(
    axes: Axes,
    found: Grid,
    values: Floats,
    words: Callable[[Cell, float], str],
    colours: str,
    norm: Normalize,
) -> None:
    """One panel: a colour and a number per cell."""
    axes.imshow(values, cmap=colours, norm=norm, aspect="auto")
    axes.set_xticks(range(len(found.columns)), [str(x) for x in found.columns])
    axes.set_yticks(range(len(found.rows)), [str(x) for x in found.rows])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    for (i, j), shown in np.ndenumerate(values):
        here = found.cells.get((found.rows[i], found.columns[j]))
        if here is None or not here.runs or np.isnan(shown):
            axes.text(j, i, "-", ha="center", va="center", color=GREY)
            continue
        depth = float(norm(shown))
        dark = abs(2 * depth - 1) > STRONG if isinstance(norm, TwoSlopeNorm) else depth > STRONG
        axes.text(
            j,
            i,
            words(here, float(shown)),
            ha="center",
            va="center",
            color="white" if dark else INK,
        )


def gained(cell: Cell, shown: float) -> str:
    """`+21.3`, and `2 of 3 diverged` below it where some did."""
    number = points(shown / 100)
    return f"{number}\n{cell.diverged} of {cell.runs} diverged" if cell.diverged else number


def tailed(cell: Cell, shown: float) -> str:
    return digits(shown)


def scale(tails: Floats) -> Normalize:
    """Logarithmic from 1, where the norm never changes."""
    most = float(np.nanmax(tails, initial=2.0))
    return LogNorm(1, max(most, 2.0))


def caption(found: Grid) -> str:
    counts = sorted({cell.runs for cell in found.cells.values()})
    seeds = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]}-{counts[-1]}"
    return (
        f"Left: mean over {seeds} seeds; diverged: over {abs(100 * HARM):.0f} points below the "
        "base student, or a gradient that was not finite. Right: median over seeds, 1 is steadiest."
    )
