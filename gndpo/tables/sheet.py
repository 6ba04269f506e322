"""A table as lines of written cells, the same for every format."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from gndpo.tables.definition import Panel, Table
from gndpo.tables.measured import Filling
from gndpo.tables.numbers import Number, columns
from gndpo.tables.published import MEAN, Place

NOTHING = "-"
LEGEND = (
    "Percent. Published: as printed. Here: mean ± 95% t interval over n seeds; of a model that was "
    "not trained the mean alone. Difference: here - published. Against another row: mean of the "
    "differences per seed ± its 95% t interval, p of the paired t test. Over questions: the 95% "
    "bootstrap interval of the same difference over questions; p of McNemar's exact test where "
    "each row has one greedy answer per question."
)


@dataclass(frozen=True)
class Cell:
    """mark: letter of the note below the table."""

    text: str
    mark: str = ""


@dataclass(frozen=True)
class Line:
    """what: published, here, difference, or a test."""

    row: str
    what: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Grid:
    title: str
    header: tuple[str, ...]
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Sheet:
    """notes: letter -> text. commands: what fills the missing cells."""

    title: str
    source: str
    paragraphs: tuple[str, ...]
    grids: tuple[Grid, ...]
    notes: Mapping[str, str]
    commands: tuple[str, ...]


def sheet(
    table: Table,
    found: Mapping[Place, Number],
    fillings: Mapping[str, Filling],
    commands: Sequence[str],
) -> Sheet:
    marks: dict[str, str] = {}
    for text in (text for number in found.values() for text in (number.note, number.part)):
        if text:
            marks.setdefault(text, letter(len(marks)))
    paragraphs = [
        *table.remarks,
        *(f"Unreleased: {text}." for text in table.unreleased),
        *(f"{row.label}: {row.without}." for row in table.rows.values() if row.without),
        *(f"{remark}." for filling in fillings.values() for remark in filling.remarks),
        LEGEND,
    ]
    grids = tuple(grid(table, panel, found, marks) for panel in table.panels)
    notes = {mark: text for text, mark in marks.items()}
    return Sheet(table.title, table.source, tuple(paragraphs), grids, notes, tuple(commands))


def letter(number: int) -> str:
    """a, b, ..., z, aa, ab, ..."""
    first, last = divmod(number, 26)
    return (letter(first - 1) if first else "") + chr(ord("a") + last)


def grid(
    table: Table, panel: Panel, found: Mapping[Place, Number], marks: Mapping[str, str]
) -> Grid:
    header = [column.label for column in panel.columns] + [MEAN] * panel.averaged
    lines = []
    for key in panel.rows:
        numbers = [found[key, panel.title, name] for name in columns(panel)]
        lines += lines_of(table, key, numbers, marks)
    return Grid(panel.title, tuple(header), tuple(lines))


def lines_of(
    table: Table, key: str, numbers: Sequence[Number], marks: Mapping[str, str]
) -> list[Line]:
    """Of one row; the last three only where they say something."""
    row = table.rows[key]
    other = table.rows[row.against].label if row.against else ""
    printed = tuple(Cell(x.printed or NOTHING, marks.get(x.note, "")) for x in numbers)
    measured = tuple(Cell(mean(x, spread=row.trained), marks.get(x.part, "")) for x in numbers)
    further: dict[str, Callable[[Number], str]] = {
        "difference": difference,
        f"against {other}": against,
        "over questions": over_questions,
    }
    lines = [Line(row.label, "published", printed), Line(row.label, here(numbers), measured)]
    for what, write in further.items():
        texts = [write(x) for x in numbers]
        if any(text != NOTHING for text in texts):
            lines.append(Line(row.label, what, tuple(Cell(text) for text in texts)))
    return lines


def here(numbers: Sequence[Number]) -> str:
    """With the number of seeds, or the least and the most."""
    counts = sorted({x.over.n for x in numbers if x.over})
    if not counts:
        return "here"
    return f"here, n={'-'.join(str(n) for n in dict.fromkeys((counts[0], counts[-1])))}"


def mean(x: Number, *, spread: bool) -> str:
    if x.over is None:
        return NOTHING
    half = f" ± {100 * x.over.half:.2f}" if spread and x.over.half is not None else ""
    return f"{100 * x.over.mean:.2f}{half}"


def difference(x: Number) -> str:
    return NOTHING if x.difference is None else f"{x.difference:+.2f}"


def against(x: Number) -> str:
    if x.seeds is None:
        return NOTHING
    half = "" if x.seeds.half is None else f" ± {100 * x.seeds.half:.2f}"
    return f"{100 * x.seeds.difference:+.2f}{half}{p_value(x.seeds.p)}"


def over_questions(x: Number) -> str:
    if x.questions is None:
        return NOTHING
    ends = f"[{100 * x.questions.low:+.2f}, {100 * x.questions.high:+.2f}]"
    return f"{ends}{p_value(x.questions.p)}"


def p_value(p: float | None) -> str:
    return "" if p is None else f", p={p:.2g}"
