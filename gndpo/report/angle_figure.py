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
from gndpo.report.labels import label_ends, plain_ticks
from gndpo.report.load import Floats
from gndpo.report.palette import GREY, STYLE, Look

Row = Mapping[str, Any]
ANGLES = {
    "lang-vis": Look("#D55E00", "-"),
    "std-vis": Look("#0072B2", "-"),
    "std-lang": Look("#009E73", "-"),
}
TERM_LOOKS = {
    "standard": Look("#222222", "-"),
    "visual": Look("#CC79A7", "-"),
    "language": Look("#7F7F7F", "-"),
}
FACTORS = {"eta": ("by image", "visual"), "eta_language": ("by language", "language")}
PAPERS_GAMMA = 2
MOST_TICKS = 12  # bins whose visual dependency fits below the axis


def draw(summary: Row, path: Path) -> None:
    bins = summary["bins"]
    with plt.rc_context(STYLE):
        figure = plt.figure(figsize=(11.5, 5.4), layout="constrained")
        panels = figure.subplot_mosaic("AE;NE", height_ratios=(3, 2), width_ratios=(8, 5))
        draw_angles(panels["A"], bins)
        draw_norms(panels["N"], bins)
        draw_factors(panels["E"], summary["eta"])
        figure.supxlabel(caption(summary), fontsize=8, color=GREY, x=0.01, ha="left")
        figure.savefig(path)
        plt.close(figure)


def draw_angles(axes: Axes, bins: Sequence[Row]) -> None:
    axes.axhline(90, color=GREY, lw=1, ls=(0, (1, 2)))
    ends = {
        pair: draw_line(axes, row_places(axes, bins), bins, pair, look)
        for pair, look in ANGLES.items()
    }
    axes.set_ylim(0, 180)
    axes.set_yticks(range(0, 181, 30))
    axes.set_xticklabels([])
    axes.set_title(title(bins), pad=8)
    axes.set_ylabel("angle (degrees)")
    label_ends(axes, ends, ANGLES)


def draw_norms(axes: Axes, bins: Sequence[Row]) -> None:
    places = row_places(axes, bins)
    axes.set_yscale("log")
    ends = {
        term: draw_line(axes, places, bins, f"norm_{term}", look)
        for term, look in TERM_LOOKS.items()
    }
    shown = places[:: -(-len(bins) // MOST_TICKS)]
    axes.set_xticks(shown, [f"{k:.0f}\n{dependency(bins[int(k)])}" for k in shown])
    axes.set_xlabel("bin of equally many tokens, and its mean visual dependency (nats)")
    axes.set_ylabel("length per token")
    label_ends(axes, ends, TERM_LOOKS)
    plain_ticks(axes)


def row_places(axes: Axes, bins: Sequence[Row]) -> Floats:
    axes.set_xlim(-0.3, len(bins) - 0.7)
    return np.arange(len(bins), dtype=np.float64)


def dependency(row: Row) -> str:
    value = float(row["visual_dependency"]["mean"])
    return f"{value:.2g}" if value >= 0.001 else "<0.001"


def title(bins: Sequence[Row]) -> str:
    """The angle between language and visual gradient at both ends."""
    first, last = (written(bins[i]["lang-vis"], ".0f") for i in (0, -1))
    return f"Language and visual gradient: {first}° in the least visual bin, {last}° in the most"


def draw_factors(axes: Axes, rows: Sequence[Row]) -> None:
    gammas = np.array([row["gamma"] for row in rows], dtype=np.float64)
    looks = {name: TERM_LOOKS[term] for name, term in FACTORS.values()}
    ends = {
        name: draw_line(axes, gammas, rows, key, looks[name]) for key, (name, _) in FACTORS.items()
    }
    usual = min(rows, key=lambda row: abs(float(row["gamma"]) - PAPERS_GAMMA))
    axes.set_title(f"η({usual['gamma']:g}) = {written(usual['eta'], '.2f')}", pad=8)
    axes.set_ylabel("η, keeps the gradient as long as without steering")
    axes.set_xlabel("γ, weight of the term that steers")
    margin = 0.05 * (gammas[-1] - gammas[0] or 1.0)
    axes.set_xlim(gammas.min() - margin, gammas.max() + margin)
    axes.set_xticks(gammas, [f"{gamma:g}" for gamma in gammas])
    axes.set_ylim(0, 1)
    label_ends(axes, ends, looks)


def draw_line(axes: Axes, places: Floats, rows: Sequence[Row], name: str, look: Look) -> float:
    """Means with their intervals as a band; gives the last mean."""
    middle, half = curve([row[name] for row in rows])
    low = middle - half if axes.get_yscale() == "linear" else np.maximum(middle - half, middle / 10)
    axes.fill_between(places, low, middle + half, color=look.colour, alpha=0.13, lw=0)
    axes.plot(places, middle, color=look.colour, ls=look.dash, lw=1.8, marker="o", ms=3.5)
    finite = middle[np.isfinite(middle)]
    return float(finite[-1]) if len(finite) else 0.0


def curve(numbers: Sequence[Number]) -> tuple[Floats, Floats]:
    """Means, nan where there is none, and half widths."""
    middle = [np.nan if n["mean"] is None else n["mean"] for n in numbers]
    half = [n["half"] or 0.0 for n in numbers]
    return np.array(middle, dtype=np.float64), np.array(half, dtype=np.float64)
