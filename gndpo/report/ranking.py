"""One figure for many arms: a row each, what it learned beside how steady it was."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill

import matplotlib
import numpy as np

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gndpo.report.arms import Arm
from gndpo.report.labels import plain_ticks
from gndpo.report.load import Run
from gndpo.report.measures import Summary, base_measures, measure, teacher_measures
from gndpo.report.palette import COLOURS, GREY, INK, STYLE
from gndpo.report.stats import gain
from gndpo.report.table import digits, points
from gndpo.report.verdict import ordered
from gndpo.report.words import listed

COLOURED = {"gndpo": "green", "trust_region": "orange", "decomposed": "pink"}
"""The strategies of the three papers, and how the caption calls their colours in the palette."""
WIDTH, ROW, FRAME = 11.0, 0.21, 1.9  # inches: the figure, a row, everything around the rows
LINE, SMALL_LINE = 105, 170  # characters across the figure, in the title and in the caption
LONGEST_NAME = 48  # characters beside a row
MARGIN = 0.05  # of the range of seeds and means, left free at both ends


@dataclass(frozen=True)
class Place:
    """A row: an arm with the numbers of its seeds; gains and ceiling in points, tails unitless."""

    arm: Summary
    gains: list[float]
    tails: list[float]
    ceiling: float | None  # the teacher's lead over the base student, where it has one

    @property
    def colour(self) -> str:
        return COLOURS[self.arm.strategy] if self.arm.strategy in COLOURED else GREY

    @property
    def label(self) -> str:
        """The name, cut in the middle where it is long, and how many runs completed if not all."""
        name, half = self.arm.name, LONGEST_NAME // 2
        short = name if len(name) <= LONGEST_NAME else f"{name[:half]}…{name[-half:]}"
        total = self.arm.completed + self.arm.unfinished
        return f"{short} ({self.arm.completed} of {total})" if self.arm.unfinished else short


def draw_ranking(arms: Sequence[Arm], summaries: Sequence[Summary], out: Path) -> list[str]:
    """Write ranking.png; gives its name, or nothing where nothing was measured."""
    ranked = places(arms, summaries)
    if not any(place.gains or place.tails for place in ranked):
        return []
    unseen = [arm.name for arm in summaries if not arm.completed]
    with plt.rc_context(STYLE):
        figure = draw(ranked, caption(ranked, unseen))
        figure.savefig(out / "ranking.png")
        plt.close(figure)
    return ["ranking.png"]


def draw(ranked: Sequence[Place], words: str) -> Figure:
    """Learning on the left, stability on the right, the result above and the words below."""
    figure, (left, right) = plt.subplots(
        1,
        2,
        figsize=(WIDTH, FRAME + ROW * len(ranked)),
        layout="constrained",
        sharey=True,
        width_ratios=(5, 3),
    )
    draw_rows(left, ranked)
    draw_gains(left, ranked)
    draw_tails(right, ranked)
    sentence = fill(title([place.arm for place in ranked]), LINE)
    figure.suptitle(sentence, x=0.01, ha="left", fontsize=11, fontweight="bold")
    figure.supxlabel(fill(words, SMALL_LINE), fontsize=8, color=GREY, x=0.01, ha="left")
    return figure


def places(arms: Sequence[Arm], summaries: Sequence[Summary]) -> list[Place]:
    """The arms by gain, most first; those without one at the end."""
    runs = {arm.name: arm.completed for arm in arms}
    shown = [arm for arm in summaries if arm.name in runs]
    ranked = ordered(shown, "gain", most_first=True)
    rest = [arm for arm in shown if arm not in ranked]
    return [_place(arm, runs[arm.name]) for arm in (*ranked, *rest)]


def _place(arm: Summary, runs: Sequence[Run]) -> Place:
    measured = [measure(run) for run in runs]
    leads = [
        gain(teacher_measures(run)["accuracy"], base_measures(run)["accuracy"]) for run in runs
    ]
    above = [100 * lead for lead in leads if lead is not None and lead > 0]
    return Place(
        arm,
        [100 * found for m in measured if (found := m["gain"]) is not None],
        [found for m in measured if (found := m["tail_ratio"]) is not None],
        float(np.mean(above)) if above else None,
    )


def draw_rows(axes: Axes, ranked: Sequence[Place]) -> None:
    """Names in their colours, the first row on top."""
    axes.set_yticks(range(len(ranked)), [place.label for place in ranked], fontsize=8)
    axes.set_ylim(len(ranked) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    for text, place in zip(axes.get_yticklabels(), ranked, strict=True):
        coloured = place.colour != GREY
        text.set(color=place.colour if coloured else INK, fontweight="bold" if coloured else None)


def draw_gains(axes: Axes, ranked: Sequence[Place]) -> None:
    axes.axvline(0, color=GREY, lw=1)
    ceilings = [(y, place.ceiling) for y, place in enumerate(ranked) if place.ceiling is not None]
    for y, ceiling in ceilings:
        axes.plot([ceiling] * 2, [y - 0.5, y + 0.5], color=INK, lw=1, ls=(0, (1, 2)))
    draw_dots(axes, ranked, lambda place: place.gains)
    seen = [g for place in ranked for g in place.gains] + [c for _, c in ceilings] + [0.0]
    margin = MARGIN * (max(seen) - min(seen)) or 1.0
    axes.set_xlim(min(seen) - margin, max(seen) + margin)
    draw_intervals(axes, ranked)
    axes.set_title("Learning", pad=20)
    finish(axes, "gain in greedy accuracy over the base student\n(points; dotted: teacher)")


def draw_dots(
    axes: Axes, ranked: Sequence[Place], read: Callable[[Place], Sequence[float]]
) -> None:
    """A dot per seed and an upright mark at their mean."""
    for y, place in enumerate(ranked):
        if values := read(place):
            axes.plot(values, [y] * len(values), "o", ms=4.5, mew=0, alpha=0.6, color=place.colour)
            axes.plot(np.mean(values), y, "|", ms=9, mew=2, color=place.colour)


def draw_intervals(axes: Axes, ranked: Sequence[Place]) -> None:
    """The 95% interval of the gain, with an arrow where it goes on beyond the panel."""
    low, high = axes.get_xlim()
    for y, place in enumerate(ranked):
        found = place.arm.values.get("gain")
        if found is None or found.half is None:
            continue
        ends = [max(low, 100 * found.low), min(high, 100 * found.high)]
        axes.plot(ends, [y, y], color=place.colour, lw=1.2, alpha=0.6)
        for end, edge, mark in ((ends[0], low, "<"), (ends[1], high, ">")):
            if end == edge:
                axes.plot(end, y, mark, ms=4, mew=0, color=place.colour, clip_on=False)


def draw_tails(axes: Axes, ranked: Sequence[Place]) -> None:
    axes.set_xscale("log")
    draw_dots(axes, ranked, lambda place: place.tails)
    most = max((tail for place in ranked for tail in place.tails), default=2.0)
    axes.set_xlim(0.95, 1.2 * max(most, 2.0))
    plain_ticks(axes, "x")
    axes.tick_params(axis="y", length=0)
    axes.set_title("Stability", pad=20)
    finish(axes, "p99 / median of the gradient norm\n(log scale)")


def finish(axes: Axes, label: str) -> None:
    """Numbers above and below, as the rows may be many."""
    axes.grid(axis="x")
    axes.tick_params(axis="x", top=False, labeltop=True)
    axes.set_xlabel(label)


def title(arms: Sequence[Summary]) -> str:
    """Who gained most and least, and who was steadiest."""
    parts = []
    if ranked := ordered(arms, "gain", most_first=True):
        first, last = (points(arm.values["gain"].mean) for arm in (ranked[0], ranked[-1]))
        most = f"{ranked[0].name} gains most ({first} points), {ranked[-1].name} least ({last})"
        parts.append(most if first != last else f"All gain the same ({first} points)")
    if steady := ordered(arms, "tail_ratio"):
        tail = digits(steady[0].values["tail_ratio"].mean)
        parts.append(f"{steady[0].name} has the steadiest gradient (p99/median {tail})")
    return "; ".join(parts)


def caption(ranked: Sequence[Place], unseen: Sequence[str]) -> str:
    """What the marks mean, and which arms have no row."""
    present = {place.arm.strategy for place in ranked}
    colours = [f"{name} ({colour})" for name, colour in COLOURED.items() if name in present]
    several = any(place.arm.completed > 1 for place in ranked)
    leads = any(place.ceiling is not None for place in ranked)
    parts = [
        "Dot: one seed. Upright mark: mean over seeds.",
        "Line: its 95% t interval, with an arrow where it goes on." * several,
        "Dotted: the teacher's lead over the base student." * leads,
        "No mark on the right: not measured, or a median of zero." * _gaps(ranked),
        f"Coloured by strategy: {', '.join(colours)}; grey: all others." * bool(colours),
        f"Without a completed run: {listed(unseen)}." * bool(unseen),
    ]
    return " ".join(part for part in parts if part)


def _gaps(ranked: Sequence[Place]) -> bool:
    return any(not place.tails for place in ranked)
