"""The comparison as rows of cells, and the three arms that stand out."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from gndpo.report.arms import Arm
from gndpo.report.load import Run
from gndpo.report.measures import Summary, measure
from gndpo.report.palette import Look
from gndpo.report.stats import Interval, interval
from gndpo.report.table import LEARNING, STABILITY, Column, cell
from gndpo.report.verdict import by_learning, learning_key, ordered

COLUMN_OF = {column.key: column for column in (*LEARNING, *STABILITY)}


@dataclass(frozen=True)
class Card:
    """An arm that stands out: its number with unit and spread, and what to know beside it."""

    title: str
    arm: str
    value: str
    unit: str
    notes: list[str]


def cards(arms: Sequence[Summary]) -> list[Card]:
    """Who learned most, who was most stable, who was cheapest; without what nobody measured."""
    found = [_learned_most(arms), _most_stable(arms), _cheapest(arms)]
    return [card for card in found if card]


def _learned_most(arms: Sequence[Summary]) -> Card | None:
    ranked = by_learning(arms)
    if not ranked:
        return None
    best = ranked[0]
    notes = [f"{_shown(best, 'gain')} points over the base student"] * ("gain" in best.values)
    if len(ranked) > 1:
        notes.append(_against(best, ranked[1], learning_key(arms)))
    return Card("Learned most", best.name, _shown(best, "accuracy"), "% accuracy", notes)


def _against(best: Summary, second: Summary, key: str) -> str:
    """Whether the intervals of the measure by which arms are ranked lie apart."""
    first, other = best.values[key], second.values[key]
    unit = "points" if key == "gain" else "%"
    after = f"the next, {second.name}: {_shown(second, key)} {unit}"
    if first.half is None or other.half is None:
        return f"one seed, no interval; {after}"
    return f"{'clear of' if first.low > other.high else 'not clear of'} {after}"


def _most_stable(arms: Sequence[Summary]) -> Card | None:
    ranked = ordered(arms, "tail_ratio")
    if not ranked:
        return None
    best, worst = ranked[0], ranked[-1]
    notes = [f"{_shown(best, 'spikes')} spikes per run"] * ("spikes" in best.values)
    notes += _rank(best, arms)
    notes += [f"least stable: {worst.name}, {_shown(worst, 'tail_ratio')}"] * (worst is not best)
    unit = "p99 / median of the gradient norm"
    return Card("Most stable", best.name, _shown(best, "tail_ratio"), unit, notes)


def _cheapest(arms: Sequence[Summary]) -> Card | None:
    ranked = ordered(arms, "seconds")
    if not ranked:
        return None
    best, worst = ranked[0], ranked[-1]
    notes = _rank(best, arms)
    if worst is not best:
        ratio = worst.values["seconds"].mean / best.values["seconds"].mean
        notes.append(f"dearest: {worst.name}, {_shown(worst, 'seconds')} ({ratio:.2f} times)")
    return Card("Cheapest", best.name, _shown(best, "seconds"), "seconds per step", notes)


def _rank(arm: Summary, arms: Sequence[Summary]) -> list[str]:
    """What this arm learned, beside the others."""
    ranked = by_learning(arms)
    if arm not in ranked:
        return []
    place = f"place {ranked.index(arm) + 1} of {len(ranked)}"
    return [f"accuracy {_shown(arm, 'accuracy')} %, {place}"]


def _shown(arm: Summary, key: str) -> str:
    return cell(arm.values.get(key), COLUMN_OF[key])


def columns() -> list[dict[str, str]]:
    """Of the table: key, title, group."""
    groups = {"learning": LEARNING, "stability": STABILITY}
    return [
        {"key": column.key, "title": column.title, "group": group}
        for group, among in groups.items()
        for column in among
    ]


def arm_row(summary: Summary, arm: Arm, look: Look, places: Mapping[Path, int]) -> dict[str, Any]:
    """An arm: its look, its numbers and the places of its runs."""
    return {
        "name": summary.name,
        "strategy": arm.strategy,
        "colour": look.colour,
        "dash": dash(look.dash),
        "completed": summary.completed,
        "total": summary.completed + summary.unfinished,
        "runs": [places[run.folder] for run in arm.runs],
        "cells": cells(summary.values),
    }


def run_row(run: Run, page: Path) -> dict[str, Any]:
    """A run: what became of it, its numbers and the way from the page to its folder."""
    found = measure(run).items()
    measured = {key: interval([x]) for key, x in found if x is not None and math.isfinite(x)}
    return {
        "name": run.folder.name,
        "seed": run.seed,
        "method": run.method is not None,
        "status": str(run.info["status"]),
        "reason": str(run.info.get("reason") or ""),
        "step": run.info.get("step"),
        "steps": run.info.get("steps"),
        "overrides": [str(override) for override in run.info.get("overrides") or []],
        "link": link(run.folder, page),
        "cells": cells(measured),
    }


def reference_row(summary: Summary) -> dict[str, Any]:
    return {"name": summary.name, "cells": cells(summary.values)}


def cells(values: Mapping[str, Interval]) -> dict[str, list[Any]]:
    """Per measured column its text, mean, and the ends of the spread that the text states."""
    return {
        key: [cell(values[key], column), values[key].mean, *_ends(values[key], column)]
        for key, column in COLUMN_OF.items()
        if key in values
    }


def _ends(value: Interval, column: Column) -> list[float]:
    if column.spread == "interval" and value.half is not None:
        return [value.low, value.high]
    return [value.least, value.most] if column.spread == "range" else []


def link(folder: Path, page: Path) -> str:
    """The run folder, relative to the page that links to it."""
    return quote(os.path.relpath(folder.resolve(), page.resolve().parent)) + "/"


def dash(pattern: Any) -> str:
    """matplotlib's line style as plotly writes it."""
    return "solid" if pattern == "-" else ",".join(f"{2 * length:g}px" for length in pattern[1])
