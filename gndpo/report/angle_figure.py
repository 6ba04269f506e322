"""The figure of `gndpo-angles`: angles by visual dependency, and eta by gamma."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from gndpo.report.angles import Number, caption, written
from gndpo.report.labels import label_ends
from gndpo.report.load import Floats
from gndpo.report.palette import GREY, STYLE, Look

Row = Mapping[str, Any]
ANGLES = {
    "lang-vis": Look("#D55E00", "-"),
    "std-vis": Look("#0072B2", "-"),
    "std-lang": Look("#009E73", "-"),
}
FACTORS = {"eta": Look("#CC79A7", "-"), "eta_language": Look("#7F7F7F", "-")}
NAMES = {"eta": "by image", "eta_language": "by language"}
MOST_TICKS = 12  # bins whose visual dependency fits below the axis


def draw(summary: Row, path: Path) -> None:
    with plt.rc_context(STYLE):
        figure, (left, right) = plt.subplots(
            1, 2, figsize=(11.5, 4.2), layout="constrained", width_ratios=(8, 5)
        )
        draw_angles(left, summary["bins"])
        draw_factors(right, summary["eta"])
        figure.supxlabel(caption(summary), fontsize=8, color=GREY, x=0.01, ha="left")
        figure.savefig(path)
        plt.close(figure)


def draw_angles(axes: Axes, bins: Sequence[Row]) -> None:
    places = np.arange(len(bins), dtype=float)
    axes.axhline(90, color=GREY, lw=1, ls=(0, (1, 2)))
    ends = {pair: draw_line(axes, places, bins, pair, look) for pair, look in ANGLES.items()}
    axes.set_title(title(bins), pad=8)
    axes.set_ylabel("angle between gradients (degrees)")
    axes.set_xlabel("bin of equally many tokens, and its mean visual dependency (nats)")
    shown = places[:: -(-len(bins) // MOST_TICKS)]
    axes.set_xticks(shown, [f"{k:.0f}\n{visual(bins[int(k)])}" for k in shown])
    label_ends(axes, ends, ANGLES)


def visual(row: Row) -> str:
    return f"{row['visual_dependency']['mean']:.2g}"


def title(bins: Sequence[Row]) -> str:
    """The angle between language and visual gradient at both ends."""
    first, last = (bins[i]["lang-vis"]["mean"] for i in (0, -1))
    if first is None or last is None or len(bins) == 1:
        return "Angles between the gradients of the three terms"
    return f"Language and visual: {first:.0f}° in the least visual bin, {last:.0f}° in the most"


def draw_factors(axes: Axes, rows: Sequence[Row]) -> None:
    gammas = np.array([row["gamma"] for row in rows], dtype=float)
    ends = {
        NAMES[name]: draw_line(axes, gammas, rows, name, look) for name, look in FACTORS.items()
    }
    middle = rows[len(rows) // 2 if len(rows) > 2 else 0]
    axes.set_title(f"η({middle['gamma']:g}) = {written(middle['eta'], '.2f')}", pad=8)
    axes.set_ylabel("η: keeps the gradient's length")
    axes.set_xlabel("γ, weight of the term that steers")
    axes.set_xticks(gammas, [f"{gamma:g}" for gamma in gammas])
    axes.set_ylim(0, 1)
    label_ends(axes, ends, {NAMES[name]: look for name, look in FACTORS.items()})


def draw_line(axes: Axes, places: Floats, rows: Sequence[Row], name: str, look: Look) -> float:
    """Means with their intervals as a band; gives the last mean."""
    middle, half = curve([row[name] for row in rows])
    axes.fill_between(places, middle - half, middle + half, color=look.colour, alpha=0.15, lw=0)
    axes.plot(places, middle, color=look.colour, ls=look.dash, lw=1.8, marker="o", ms=3.5)
    finite = middle[np.isfinite(middle)]
    return float(finite[-1]) if len(finite) else 0.0


def curve(numbers: Sequence[Number]) -> tuple[Floats, Floats]:
    """Means, nan where there is none, and half widths."""
    middle = [np.nan if n["mean"] is None else n["mean"] for n in numbers]
    half = [0.0 if n["half"] is None else n["half"] for n in numbers]
    return np.array(middle, dtype=np.float64), np.array(half, dtype=np.float64)
