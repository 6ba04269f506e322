"""Cells as a paper prints them, percent, and where its own arithmetic does not hold."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gndpo.errors import UserError

MEAN = "mean"
"""The column of the printed mean."""
ROUNDING = 0.01
"""Two decimals: cells and their mean are each off by less than 0.005, or by 0.01 where they are
cut; more than this is an error."""

Place = tuple[str, str, str]
"""Row, panel, benchmark."""


@dataclass(frozen=True)
class Published:
    """cells: as printed. notes: what is known to be wrong with a cell, or odd about it."""

    cells: Mapping[Place, str] = field(default_factory=dict)
    notes: Mapping[Place, str] = field(default_factory=dict)

    def value(self, place: Place) -> float | None:
        """Percent."""
        return float(self.cells[place]) if place in self.cells else None


def read_published(
    file: Path | None, panels: Mapping[str, tuple[Sequence[str], Sequence[str]]]
) -> Published:
    """A CSV with row, panel, a column per benchmark and mean; beside it, .notes.csv with row,
    panel, benchmark, note. panels: rows and benchmarks of each."""
    if file is None:
        return Published()
    places = {
        (row, title, name)
        for title, (rows, names) in panels.items()
        for row in rows
        for name in (*names, MEAN)
    }
    cells = {
        (line["row"], line["panel"], name): value
        for line in lines(file, {"row", "panel"})
        for name, value in line.items()
        if name not in ("row", "panel") and value
    }
    beside = file.with_suffix(".notes.csv")
    noted = lines(beside, {"row", "panel", "benchmark", "note"}) if beside.exists() else []
    notes = {(x["row"], x["panel"], x["benchmark"]): x["note"] for x in noted}
    for where, found in ((file, cells), (beside, notes)):
        for place in found:
            if place not in places:
                raise UserError(f"{where}: {', '.join(place)} is no cell of the table")
    for place, value in cells.items():
        if not is_percent(value):
            raise UserError(f"{file}: {', '.join(place)} is {value!r:.60}, no percentage")
    return Published(cells, notes)


def is_percent(text: str) -> bool:
    try:
        return 0 <= float(text) <= 100
    except ValueError:
        return False


def lines(file: Path, needed: set[str]) -> list[dict[str, str]]:
    """A cell for every name of the heading, in every line."""
    if not file.exists():
        raise UserError(f"{file}: there is no such file; published: null means that none is known")
    try:
        with file.open(encoding="utf-8", newline="") as content:
            reader = csv.DictReader(content)
            names, found = {*(reader.fieldnames or ())}, list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{file}: no CSV in UTF-8 ({error}); mend it") from error
    if not needed <= names:
        raise UserError(f"{file}: its first line must name {', '.join(sorted(needed))}")
    for number, line in enumerate(found, 1):
        if None in line or None in line.values():
            raise UserError(f"{file}: entry {number} has other cells than the first line names")
    return found


def wrong_means(published: Published, panel: str, benchmarks: Sequence[str]) -> dict[str, float]:
    """{row: mean of its printed cells} where the printed mean is another."""
    found = {}
    for row, title, name in published.cells:
        if title != panel or name != MEAN:
            continue
        cells = [published.value((row, panel, benchmark)) for benchmark in benchmarks]
        known = [x for x in cells if x is not None]
        printed = published.value((row, panel, MEAN))
        if len(known) == len(cells) and printed is not None:
            mean = sum(known) / len(known)
            if abs(mean - printed) > ROUNDING + 1e-9:
                found[row] = mean
    return found
