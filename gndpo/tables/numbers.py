"""Every cell of a table in numbers: printed, measured, and tested against another row."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gndpo.report.paired import Paired, paired
from gndpo.report.stats import Interval, interval
from gndpo.tables.compare import Questions, over_questions
from gndpo.tables.definition import Panel, Table
from gndpo.tables.measured import Filling, Found, means, questions, values
from gndpo.tables.published import MEAN, Place, wrong_means


@dataclass(frozen=True)
class Number:
    """printed: by the paper, percent; note: what is known about that. over: what was measured,
    fractions of 1, over seeds; part: that not every question was asked. seeds, questions: against
    another row."""

    printed: str | None
    note: str
    over: Interval | None
    part: str
    seeds: Paired | None
    questions: Questions | None

    @property
    def difference(self) -> float | None:
        """Measured - printed, points."""
        if self.printed is None or self.over is None:
            return None
        return 100 * self.over.mean - float(self.printed)


@dataclass(frozen=True)
class Measures:
    """Of one row and panel: cells by benchmark and seed; mean: over the panel, by seed."""

    cells: Mapping[str, Mapping[int, Found]]
    mean: Mapping[int, float]

    def by_seed(self, name: str) -> Mapping[int, float]:
        """Fractions of 1, of a benchmark or of the mean."""
        if name == MEAN:
            return self.mean
        return {seed: found.value for seed, found in self.cells.get(name, {}).items()}


NOBODY = Measures({}, {})


def columns(panel: Panel) -> list[str]:
    """Benchmarks, and the mean."""
    return [column.benchmark for column in panel.columns] + [MEAN] * panel.averaged


def numbers(table: Table, fillings: Mapping[str, Filling]) -> dict[Place, Number]:
    found: dict[Place, Number] = {}
    for panel in table.panels:
        measures = {key: measure(table, panel, key, fillings[key]) for key in panel.rows}
        notes = notes_of(table, panel)
        for key in panel.rows:
            other = measures.get(table.rows[key].against or "", NOBODY)
            for name in columns(panel):
                place = (key, panel.title, name)
                found[place] = Number(
                    printed=table.published.cells.get(place),
                    note=notes.get(place, ""),
                    over=over(measures[key].by_seed(name)),
                    part=part(measures[key], name),
                    seeds=paired(measures[key].by_seed(name), other.by_seed(name)),
                    questions=asked(panel, name, measures[key], other),
                )
    return found


def measure(table: Table, panel: Panel, key: str, filling: Filling) -> Measures:
    row = table.rows[key]
    cells = {column.benchmark: values(filling, row, column) for column in panel.columns}
    return Measures(cells, means(filling, panel, cells))


def over(by_seed: Mapping[int, float]) -> Interval | None:
    return interval(list(by_seed.values())) if by_seed else None


def asked(panel: Panel, name: str, ours: Measures, theirs: Measures) -> Questions | None:
    """A mean has no questions of its own."""
    for column in panel.columns:
        if column.benchmark == name:
            return over_questions(ours.cells[name], theirs.cells.get(name, {}), column)
    return None


def notes_of(table: Table, panel: Panel) -> dict[Place, str]:
    """What is wrong with a printed cell: as noted, and a mean that its cells do not give."""
    benchmarks = [column.benchmark for column in panel.columns]
    wrong = wrong_means(table.published, panel.title, benchmarks)
    notes = {
        (key, panel.title, MEAN): f"the mean of the printed cells is {mean:.2f}"
        for key, mean in wrong.items()
    }
    for place, note in table.published.notes.items():
        if place[1] == panel.title:
            notes[place] = "; ".join(filter(None, (notes.get(place), note)))
    return notes


def part(ours: Measures, name: str) -> str:
    whole = questions().get(name)
    counts = {found.n for found in ours.cells.get(name, {}).values()}
    if whole is None or counts <= {whole}:
        return ""
    return f"{' or '.join(str(n) for n in sorted(counts))} of {whole} questions"


FIELDS = (
    *("panel", "row", "column", "published", "note", "mean", "half", "seeds", "difference"),
    *("against", "against_difference", "against_half", "against_p", "against_seeds"),
    *("questions_low", "questions_high", "questions_p", "questions"),
)


def as_csv(table: Table, found: Mapping[Place, Number]) -> str:
    """A line per cell, unrounded: percent and points; `half` for trained rows only."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(FIELDS)
    for (key, panel, name), number in found.items():
        row = table.rows[key]
        note = "; ".join(filter(None, (number.note, number.part)))
        start = [panel, row.label, name, number.printed, note]
        here = measured(number, spread=row.trained)
        writer.writerow([*start, *here, row.against, *tested(number)])
    return out.getvalue()


def measured(number: Number, *, spread: bool) -> Sequence[float | None]:
    """mean, half, seeds, difference."""
    x = number.over
    if x is None:
        return [None] * 4
    return [*points(x.mean, x.half if spread else None), x.n, number.difference]


def tested(number: Number) -> Sequence[float | None]:
    """difference, half, p and n over seeds, then low, high, p and n over questions."""
    s, q = number.seeds, number.questions
    seeds = [None] * 4 if s is None else [*points(s.difference, s.half), s.p, s.n]
    return [*seeds, *([None] * 4 if q is None else [*points(q.low, q.high), q.p, q.n])]


def points(*fractions: float | None) -> list[float | None]:
    return [None if x is None else 100 * x for x in fractions]
