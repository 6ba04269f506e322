"""Four figures over training steps, alone and together: what the strategies did."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gndpo.report.arms import Arm
from gndpo.report.curves import Band, band, band_meaning
from gndpo.report.labels import Ends, label_ends, plain_ticks
from gndpo.report.load import Floats, Run, eval_rows, series
from gndpo.report.measures import Summary, validation_curve
from gndpo.report.palette import GREY, STYLE, Look, looks
from gndpo.report.ranking import draw_ranking
from gndpo.report.table import digits
from gndpo.report.verdict import ordered

Read = Callable[[Run], tuple[Floats, Floats]]
LONGEST_TITLE = 64  # characters that fit over one panel
MOST_LINES = 10  # arms whose curves can be told apart


@dataclass(frozen=True)
class Panel:
    """One figure: what is read from a run, how it is drawn and what its title says."""

    name: str
    read: Read
    label: str
    title: Callable[[Ends, Sequence[Summary]], str | None]  # None: nothing to compare
    plain: str  # the title then, or where names are too long
    log: bool = False
    scale: float = 1.0
    dashed: Read | None = None  # a second, thinner line per arm


def metric(key: str) -> Read:
    """Reads one training metric."""
    return lambda run: series(run.metrics, key)


def _ends_highest(ends: Ends, arms: Sequence[Summary]) -> str | None:
    names = sorted(ends, key=ends.__getitem__)
    if len(names) < 2:
        return None
    return f"{names[-1]} ends highest, {names[0]} lowest"


def _ends_closest(ends: Ends, arms: Sequence[Summary]) -> str | None:
    if len(ends) < 2:
        return None
    return f"{min(ends, key=ends.__getitem__)} ends closest to the teacher"


def _heaviest_tail(ends: Ends, arms: Sequence[Summary]) -> str | None:
    ranked = ordered(arms, "tail_ratio", most_first=True)
    if len(ranked) < 2:
        return None
    value = digits(ranked[0].values["tail_ratio"].mean)
    return f"{ranked[0].name} has the heaviest gradient tail (p99 = {value} × median)"


PANELS = (
    Panel(
        "accuracy",
        validation_curve,
        "greedy accuracy on validation images (%)",
        _ends_highest,
        "Accuracy on unseen images",
        scale=100,
    ),
    Panel(
        "grad_norm",
        metric("grad/norm"),
        "gradient norm before clipping (log scale)",
        _heaviest_tail,
        "Gradient norm before clipping",
        log=True,
    ),
    Panel(
        "kl",
        metric("teacher/kl"),
        "KL to the teacher (nats per token)",
        _ends_closest,
        "Distance to the teacher",
    ),
    Panel(
        "advantage",
        metric("advantage/std"),
        "advantage (nats; without unit once whitened)",
        lambda ends, arms: None,
        "Spread of the advantages: std (solid), p99 of |A| (dashed)",
        log=True,
        dashed=metric("advantage/abs_p99"),
    ),
)


def draw_all(arms: Sequence[Arm], summaries: Sequence[Summary], out: Path) -> list[str]:
    """Write overview.png and one file per panel that has data, or ranking.png for many arms.

    Gives the names written.
    """
    shown = [arm for arm in arms if arm.completed]
    if len(shown) > MOST_LINES:
        return draw_ranking(shown, summaries, out)
    panels = [panel for panel in PANELS if any(_band(panel, panel.read, arm) for arm in shown)]
    if not panels:
        return []
    draw = partial(_draw, arms=shown, summaries=summaries)
    with plt.rc_context(STYLE):
        _save(draw(panels, columns=min(2, len(panels)), size=(6.2, 3.7)), out / "overview.png")
        for panel in panels:
            _save(draw([panel], columns=1, size=(7.2, 4.2)), out / f"{panel.name}.png")
    return ["overview.png", *(f"{panel.name}.png" for panel in panels)]


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path)
    plt.close(figure)


def _draw(
    panels: Sequence[Panel],
    arms: Sequence[Arm],
    summaries: Sequence[Summary],
    columns: int,
    size: tuple[float, float],
) -> Figure:
    rows = -(-len(panels) // columns)
    figure, grid = plt.subplots(
        rows,
        columns,
        figsize=(size[0] * columns, size[1] * rows),
        layout="constrained",
        squeeze=False,
    )
    for axes, panel in zip(grid.flat, panels, strict=False):
        _draw_panel(axes, panel, arms, summaries)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    seeds = [len(arm.completed) for arm in arms]
    figure.supxlabel(_caption(seeds), fontsize=8, color=GREY, x=0.01, ha="left")
    return figure


def _caption(seeds: Sequence[int]) -> str:
    return (
        "Line: mean over seeds, lightly smoothed where each seed is drawn faintly behind it. "
        f"Band: {band_meaning(seeds)}."
    )


def _draw_panel(
    axes: Axes, panel: Panel, arms: Sequence[Arm], summaries: Sequence[Summary]
) -> None:
    look_of = looks(arms)
    if panel.log:
        axes.set_yscale("log")
    ends: Ends = {}
    for arm in arms:
        if line := _band(panel, panel.read, arm):
            _draw_band(axes, line, look_of[arm.name], panel.scale)
            ends[arm.name] = panel.scale * float(line.middle[-1])
        if panel.dashed and (line := _band(panel, panel.dashed, arm)):
            axes.plot(line.steps, line.middle, ls=(0, (4, 2)), lw=1, color=look_of[arm.name].colour)
    if panel.read is validation_curve:
        _draw_teacher(axes, arms)
    absent = ", ".join(arm.name for arm in arms if arm.name not in ends)
    title = panel.title(ends, summaries) or panel.plain
    axes.set_title(title if len(title) <= LONGEST_TITLE else panel.plain, pad=8)
    axes.set_xlabel(
        f"training step (zero or not measured: {absent})" if absent else "training step"
    )
    axes.set_ylabel(panel.label)
    label_ends(axes, ends, look_of)
    if panel.log:
        plain_ticks(axes)


def _band(panel: Panel, read: Read, arm: Arm) -> Band | None:
    return band([read(run) for run in arm.completed], panel.log)


def _draw_band(axes: Axes, line: Band, look: Look, scale: float) -> None:
    if line.smoothed:
        axes.plot(line.steps, scale * line.raw.T, color=look.colour, lw=0.5, alpha=0.25)
    if len(line.steps) > 1:
        axes.fill_between(
            line.steps, scale * line.low, scale * line.high, color=look.colour, alpha=0.13, lw=0
        )
    axes.plot(line.steps, scale * line.middle, color=look.colour, ls=look.dash, lw=1.8)


def _draw_teacher(axes: Axes, arms: Sequence[Arm]) -> None:
    """The ceiling, on the test images where the teacher was not evaluated on validation ones."""
    runs = [run for arm in arms for run in arm.runs]
    found = {
        split: [series(eval_rows(run, "teacher", split), "eval/acc_1")[1] for run in runs]
        for split in ("validation", "test")
    }
    values = {split: np.concatenate(arrays) for split, arrays in found.items()}
    split = "validation" if len(values["validation"]) else "test"
    if len(values[split]):
        height = 100 * float(values[split].mean())
        axes.axhline(height, color=GREY, lw=1, ls=(0, (1, 2)))
        axes.annotate(
            "teacher" if split == "validation" else "teacher, on test images",
            (0, height),
            (4, 3),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            color=GREY,
            fontsize=8,
        )
