"""The figure of `gndpo-angles`: angles and lengths by visual dependency, and eta by gamma."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from gndpo.report.angles import Number, caption, written
from gndpo.report.labels import Ends, label_ends, plain_ticks
from gndpo.report.load import Floats
from gndpo.report.palette import GREY, STYLE, Look

Row = Mapping[str, Any]
ANGLES = {
    "lang-vis": Look("#D55E00", "-"),
    "std-vis": Look("#0072B2", "-"),
    "std-lang": Look("#009E73", "-"),
}
TERMS = {
    "standard": Look("#222222", "-"),
    "visual": Look("#CC79A7", "-"),
    "language": Look("#7F7F7F", "-"),
}
PAPERS_GAMMA = 2
MOST_TICKS = 12  # bins whose visual dependency fits below the axis
LEAST_SHOWN = 0.001  # nats
DODGE = 0.07  # of the distance between two places


def draw(summary: Row, path: Path) -> None:
    bins = summary["bins"]
    with plt.rc_context(STYLE):
        figure = plt.figure(figsize=(11.5, 6.4), layout="constrained")
        panels = figure.subplot_mosaic("AE;NE", height_ratios=(5, 4), width_ratios=(8, 5))
        draw_angles(panels["A"], bins)
        draw_norms(panels["N"], bins)
        draw_factors(panels["E"], summary["eta"])
        figure.supxlabel(caption(summary), fontsize=8, color=GREY, x=0.01, ha="left")
        figure.savefig(path)
        plt.close(figure)


def draw_angles(axes: Axes, bins: Sequence[Row]) -> None:
    first, last = (written(bins[i]["lang-vis"], ".0f") for i in (0, -1))
    axes.set_title(f"Language and visual: {first}° in bin 0, {last}° in bin {len(bins) - 1}", pad=8)
    axes.axhline(90, color=GREY, lw=1, ls=(0, (1, 2)))
    axes.set_ylabel("angle between gradients (degrees)")
    axes.set_ylim(0, 180)
    axes.set_yticks(range(0, 181, 30))
    places = np.arange(len(bins), dtype=np.float64)
    draw_lines(axes, places, bins, {pair: pair for pair in ANGLES}, ANGLES)
    axes.set_xticks(places, [""] * len(bins))


def draw_norms(axes: Axes, bins: Sequence[Row]) -> None:
    axes.set_yscale("log")
    axes.set_ylabel("gradient norm per token (log scale)")
    places = np.arange(len(bins), dtype=np.float64)
    draw_lines(axes, places, bins, {f"norm_{term}": term for term in TERMS}, TERMS)
    shown = places[:: -(-len(bins) // MOST_TICKS)]
    axes.set_xticks(shown, [f"{k:.0f}\n{dependency(bins[int(k)])}" for k in shown])
    axes.set_xlabel("bin of equally many tokens, and its mean visual dependency (nats)")
    plain_ticks(axes)


def dependency(row: Row) -> str:
    value = float(row["visual_dependency"]["mean"])
    return f"{value:.2g}" if value >= LEAST_SHOWN else f"<{LEAST_SHOWN}"


def draw_factors(axes: Axes, rows: Sequence[Row]) -> None:
    usual = min(rows, key=lambda row: abs(float(row["gamma"]) - PAPERS_GAMMA))
    axes.set_title(f"By image, η({usual['gamma']:g}) = {written(usual['eta'], '.2f')}", pad=8)
    axes.set_ylabel("η, keeps the gradient as long as without steering")
    axes.set_xlabel("γ, weight of the term that steers")
    axes.set_ylim(0, 1)
    names = {"eta": "by image", "eta_language": "by language"}
    looks = {"by image": TERMS["visual"], "by language": TERMS["language"]}
    gammas = np.array([row["gamma"] for row in rows], dtype=np.float64)
    draw_lines(axes, gammas, rows, names, looks)
    axes.set_xticks(gammas, [f"{gamma:g}" for gamma in gammas])


def draw_lines(
    axes: Axes,
    places: Floats,
    rows: Sequence[Row],
    names: Mapping[str, str],
    looks: Mapping[str, Look],
) -> None:
    """A line per key of the rows, under its name: means, with intervals side by side."""
    step = float(np.ptp(places)) / max(1, len(places) - 1) or 1.0
    axes.set_xlim(places[0] - 0.3 * step, places[-1] + 0.3 * step)
    ends: Ends = {}
    for i, (key, name) in enumerate(names.items()):
        middle, half = curve([row[key] for row in rows])
        aside = places + DODGE * step * (i - (len(names) - 1) / 2)
        axes.plot(aside, middle, color=looks[name].colour, lw=1.5, marker="o", ms=4)
        axes.errorbar(aside, middle, half, color=looks[name].colour, fmt="none", lw=1, alpha=0.6)
        if np.isfinite(middle).any():
            ends[name] = float(middle[np.isfinite(middle)][-1])
    label_ends(axes, ends, looks)


def curve(numbers: Sequence[Number]) -> tuple[Floats, Floats]:
    """Means, nan where there is none, and half widths."""
    middle = [np.nan if n["mean"] is None else n["mean"] for n in numbers]
    half = [n["half"] or 0.0 for n in numbers]
    return np.array(middle, dtype=np.float64), np.array(half, dtype=np.float64)
