"""The tables of docs/scale.md, and curve.png beside this file.

python -m experiments.scale.curve
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from benchmarks.growth import BASE
from experiments.scale.layout import (
    STEP,
    STUDENT,
    adapted,
    all_reduce,
    split,
    table,
    weights,
)
from experiments.scale.simulate import Load, assumed, curve, divided, drawn, fitted, measured
from gndpo.report.palette import DASHES, GREY, SPARE_COLOURS, STYLE
from gndpo.tables.shapes import build

FILE = Path(__file__).with_name("curve.png")
BATCHES = 50
"""Steps whose lengths are drawn; the mean of their seconds is shown."""
PROMPTS, PROCESSES = 16, (1, 2, 4, 8, 16)
GPUS = (8, 16, 32, 64, 128, 256)
Points = Mapping[int, float]


def laboratory() -> tuple[dict[str, Points], dict[str, float]]:
    """Measured rates, nothing moved; the first curve's lengths are those of the measurement."""
    rates, missed = fitted(measured())
    load = Load(BASE.prompt, PROMPTS * BASE.group, nothing)
    equal = np.full((PROMPTS, BASE.group), BASE.answer)
    random = [
        drawn(PROMPTS, BASE.group, BASE.answer, 4 * BASE.answer, seed) for seed in range(BATCHES)
    ]
    return {
        "answers of one length": curve(rates, load, [equal], PROCESSES),
        "exponential lengths": curve(rates, load, random, PROCESSES),
    }, missed


def nothing(ranks: int) -> float:
    return 0.0


def cluster() -> dict[str, Mapping[int, tuple[int, float]]]:
    """Assumed rates; of the batch of layout.py."""
    student = weights(build(STUDENT))
    learned = adapted(student, 16, build(STUDENT))["adapter"]
    batches = [
        drawn(STEP.prompts, STEP.group, STEP.answer, STEP.longest, seed) for seed in range(BATCHES)
    ]
    lora = Load(STEP.prompt, 74, partial(all_reduce, learned))
    whole = Load(STEP.prompt, 53, lambda n: sum(split(student, STEP.pieces, n).values()))
    return {
        "LoRA, bfloat16, trainer=ddp": divided(assumed(1), lora, batches, GPUS),
        "all weights, TF32, trainer=fsdp": divided(assumed(2), whole, batches, GPUS),
    }


def efficiency(points: Points) -> Points:
    """Of the first point's GPU seconds."""
    first = min(points)
    return {n: points[first] * first / (seconds * n) for n, seconds in points.items()}


def draw(axes: Sequence[Axes], title: str, unit: str, curves: Mapping[str, Points]) -> None:
    top, bottom = axes
    for (name, points), colour, dash in zip(curves.items(), SPARE_COLOURS, DASHES, strict=False):
        look = {"color": colour, "ls": dash, "marker": "o", "ms": 4, "lw": 1.5}
        top.plot(list(points), list(points.values()), label=name, **look)
        bottom.plot(list(points), list(efficiency(points).values()), **look)
    ideal = next(iter(curves.values()))
    first = min(ideal)
    top.plot(list(ideal), [ideal[first] * first / n for n in ideal], color=GREY, lw=0.8, ls=":")
    top.set(xscale="log", yscale="log", title=title, ylabel="seconds per step")
    bottom.set(xscale="log", ylim=(0, 1.05), ylabel="efficiency", xlabel=unit)
    for one in axes:
        one.set_xticks(list(ideal), [str(n) for n in ideal])
        one.minorticks_off()
    ticks = [t for t in (0.25, 0.5, 1, 2, 30, 60, 120, 300, 600, 1200, 2400) if within(t, curves)]
    top.set_yticks(ticks, [f"{t:g}" for t in ticks])
    top.legend(frameon=False, fontsize=8)


def within(tick: float, curves: Mapping[str, Points]) -> bool:
    every = [seconds for points in curves.values() for seconds in points.values()]
    return 0.6 * min(every) <= tick <= 1.5 * max(every)


def main() -> None:
    tiny, missed = laboratory()
    large = cluster()
    rows = [
        [f"{name}, {n}", f"{s:.3f}", f"{e:.0%}"]
        for name, points in tiny.items()
        for (n, s), e in zip(points.items(), efficiency(points).values(), strict=True)
    ]
    print(*table(["laboratory, processes", "s", "efficiency"], rows), sep="\n")
    print("median error of the fit:", ", ".join(f"{k} {x:.0%}" for k, x in missed.items()), "\n")
    seconds = {name: {n: s for n, (_, s) in points.items()} for name, points in large.items()}
    rows = [
        [f"{name}, {n}", str(m), f"{s:.0f}", f"{efficiency(seconds[name])[n]:.0%}"]
        for name, points in large.items()
        for n, (m, s) in points.items()
    ]
    print(*table(["4B and 32B, GPUs", "of them the teacher's", "s", "efficiency"], rows), sep="\n")
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            2, 2, figsize=(8, 5), layout="constrained", height_ratios=(3, 2), sharex="col"
        )
        draw(axes[:, 0], "tiny pair, rates measured on a CPU", "processes", tiny)
        draw(axes[:, 1], "4B taught by 32B, rates assumed", "GPUs", seconds)
        caption = "Dotted: twice the number, half the time. Assumptions: docs/scale.md."
        figure.supxlabel(caption, fontsize=8, color=GREY, x=0.01, ha="left")
        figure.savefig(FILE)


if __name__ == "__main__":
    main()
