"""What a whole run looks like: quantiles of log-ratio and advantage over training."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

TITLES = {
    "teacher/log_ratio_": "Log-ratio log pi_T - log pi_S before any clamp, nats",
    "advantage/": "Advantage over the step's valid tokens",
}
"""Prefix of the metrics -> title."""
BANDS = {
    ("min", "max"): "#DCEAF5",
    ("p01", "p99"): "#AFCFE8",
    ("p05", "p95"): "#72ABD6",
    ("p25", "p75"): "#2F7FBD",
}
"""Outermost first."""
MEDIAN = "#0B2E4F"
LINEAR = 1.0  # beyond, the axis is logarithmic: outliers do not hide the rest


def draw(rows: Sequence[Mapping[str, Any]]) -> dict[str, Figure]:
    """A fan per distribution, by name."""
    names = {prefix: prefix.strip("/_").rpartition("/")[2] for prefix in TITLES}
    return {name: fan(rows, prefix) for prefix, name in names.items()}


def fan(rows: Sequence[Mapping[str, Any]], prefix: str) -> Figure:
    """Median and bands of quantiles over steps."""
    steps = [row["step"] for row in rows]
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for (low, high), colour in BANDS.items():
        edges = (values(rows, prefix + low), values(rows, prefix + high))
        axes.fill_between(steps, *edges, color=colour, linewidth=0, label=f"{low} to {high}")
    axes.plot(steps, values(rows, prefix + "p50"), color=MEDIAN, label="median")
    axes.set_yscale("symlog", linthresh=LINEAR)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title(TITLES[prefix], loc="left", fontsize=10)
    axes.set_xlabel("step")
    axes.margins(x=0)
    figure.legend(loc="outside lower center", frameon=False, fontsize=8, ncols=len(BANDS) + 1)
    return figure


def values(rows: Sequence[Mapping[str, Any]], name: str) -> Any:
    """Rows of an older version may lack a quantile."""
    return np.array([row.get(name, np.nan) for row in rows], dtype=float)
