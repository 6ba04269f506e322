"""One self-contained page of a comparison: template, style, code, plotly and numbers in one file.

Nothing is loaded from anywhere; the page's own policy forbids it.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from plotly.offline import get_plotlyjs

from gndpo.report.cli import Report, remarks
from gndpo.report.page import curves, overview
from gndpo.report.page.accuracy import accuracy
from gndpo.report.page.configs import configs
from gndpo.report.page.fans import FAMILIES, QUANTILES, fans
from gndpo.report.page.gradients import marks
from gndpo.report.page.packing import as_json, packed
from gndpo.report.page.tokens import answers
from gndpo.report.palette import looks
from gndpo.report.table import LEARNING_NOTE, STABILITY_NOTE
from gndpo.report.verdict import verdict

NAME = "report.html"
STYLES = ("tokens", "style")
SCRIPTS = (
    *("base", "plots", "arms", "table", "filters", "curves", "gradients", "fans"),
    *("accuracy", "diff", "sheet", "tokens", "main"),
)


def write_page(report: Report, out: Path, every: float | None = None) -> Path:
    """Write report.html beside the other outputs, at once and whole; `every` as in `page`."""
    path = out / NAME
    beside = path.with_name(f".{NAME}.{os.getpid()}")
    beside.write_text(page(report, path, every), encoding="utf-8")
    beside.replace(path)
    return path


def page(report: Report, path: Path, every: float | None = None) -> str:
    """The page that will stand at `path`; with `every`, one that is rewritten after so many
    seconds and reloads itself."""
    names = curves.names(report.runs)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    template = environment.from_string(_joined(["template.html"]))
    return template.render(
        style=_joined(f"{name}.css" for name in STYLES),
        script=_joined(f"{name}.js" for name in SCRIPTS),
        verdict=verdict(report.summaries),
        remarks=remarks(report),
        cards=overview.cards(report.summaries),
        colours={name: look.colour for name, look in looks(report.arms).items()},
        notes=[LEARNING_NOTE, STABILITY_NOTE],
        as_of=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S %Z"),
        every=every,
        meta=as_json(meta(report, names, path, every)),
        plotly=_plotly(),
        packs={name: packed(as_json(numbers)) for name, numbers in packs(report, names)},
    )


def _joined(names: Iterable[str]) -> str:
    here = files("gndpo.report.page")
    return "\n".join((here / name).read_text(encoding="utf-8") for name in names)


def meta(report: Report, names: Sequence[str], path: Path, every: float | None) -> dict[str, Any]:
    """What the page needs at once."""
    arm_of = {arm.name: arm for arm in report.arms}
    look_of = looks(report.arms)
    places = {run.folder: place for place, run in enumerate(report.runs)}
    return {
        "every": every,
        "columns": overview.columns(),
        "references": [overview.reference_row(row) for row in report.references],
        "arms": [
            overview.arm_row(row, arm_of[row.name], look_of[row.name], places)
            for row in report.summaries
        ],
        "runs": [overview.run_row(run, path) for run in report.runs],
        "metrics": {name: curves.meaning(name) for name in names},
        "quantiles": QUANTILES,
    }


@cache
def _plotly() -> str:
    return packed(get_plotlyjs())


def packs(report: Report, names: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """What panels unpack when they are looked at, by name."""
    arm_of = {arm.name: arm for arm in report.arms}
    arms = [arm_of[row.name] for row in report.summaries]
    points = curves.budget(len(report.runs), len(names))
    yield "config", configs(report.runs)
    yield "marks", [marks(run) for run in report.runs]
    yield "accuracy", accuracy(report.runs, arms)
    yield "tokens", answers(report.runs, arms)
    for family in FAMILIES:
        yield f"fan/{family}", fans(family, arms)
    for name in names:
        yield f"curve/{name}", curves.curves(name, report.runs, arms, points)
