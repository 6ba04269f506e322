"""The comparison as cells: for the terminal, for a README, and in full precision as CSV."""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from rich.box import SIMPLE_HEAD
from rich.table import Table

from gndpo.report.measures import Summary
from gndpo.report.stats import REGAIN_EVALS, SPIKE_FACTOR, SPIKE_WINDOW, Interval

MISSING = "-"


@dataclass(frozen=True)
class Column:
    """A measure, its short title, how a number is written, and which spread stands beside it."""

    key: str
    title: str
    write: Callable[[float], str]
    spread: str = "none"  # interval, range, none


def percent(x: float) -> str:
    return f"{100 * x:.1f}"


def points(x: float) -> str:
    return f"{round(100 * x, 1) + 0.0:+.1f}"


def whole_percent(x: float) -> str:
    return f"{100 * x:.0f}"


def digits(x: float) -> str:
    return f"{x:,.0f}" if 1e3 <= abs(x) < 1e6 else f"{x:.3g}"


def count(x: float) -> str:
    return f"{x:.1f}".removesuffix(".0")


LEARNING = (
    Column("accuracy", "accuracy %", percent, "interval"),
    Column("gain", "gain points", points, "interval"),
    Column("gap_closed", "gap closed %", whole_percent, "interval"),
    Column("accuracy_t1", "at T=1 %", percent, "interval"),
    Column("blind", "blind %", percent),
    Column("kl", "KL to teacher", digits),
    Column("seconds", "s/step", digits),
)
STABILITY = (
    Column("grad_norm", "grad norm", digits),
    Column("tail_ratio", "p99/median", digits, "range"),
    Column("spikes", "spikes", count, "range"),
    Column("cosine", "cos halves", digits),
    Column("variation", "CV", digits),
    Column("clipped", "clipped %", whole_percent),
    Column("skipped", "skipped", count),
    Column("lost", "lost acc %", percent),
)
CSV_ONLY = ("pass_k", "format", "truncated", "tokens_per_s")

LEARNING_NOTE = (
    "Greedy accuracy on unseen test images, mean ± 95% t interval over seeds that completed. "
    "Gain = accuracy - base, gap closed = gain / (teacher - base), both per run. At T=1: mean over "
    "sampled answers. Blind: greedy without the image. KL to teacher: nats per token, mean of the "
    "last tenth of its measurements (base student: the first, median over runs). s/step: median."
)
STABILITY_NOTE = (
    "Per run, then the mean over seeds (least-most in brackets). Grad norm: median, before "
    "clipping; its scale says nothing about stability, the columns to its right have no scale. "
    f"Spikes: steps over {SPIKE_FACTOR:g} times the median of the {SPIKE_WINDOW} steps before. "
    "Cos halves: cosine between the gradients of the two halves of a batch. CV: standard deviation "
    "/ mean of the norm. Clipped: share of steps. Skipped: steps with a non-finite gradient. Lost "
    "acc: most validation accuracy lost and not regained within the next "
    f"{REGAIN_EVALS} evaluations."
)


def cells(row: Summary, columns: Sequence[Column]) -> list[str]:
    """Name, runs and one cell per column."""
    return [row.name, _runs(row), *(cell(row.values.get(c.key), c) for c in columns)]


def cell(value: Interval | None, column: Column) -> str:
    """`77.9 ± 1.2`, `2.1 (1.8-2.6)`, `2.1`, or `-` where nothing was measured."""
    if value is None:
        return MISSING
    mean = column.write(value.mean)
    if column.spread == "interval" and value.half is not None:
        return f"{mean} ± {column.write(value.half).lstrip('+')}"
    ends = [column.write(value.least), column.write(value.most)]
    if column.spread == "range" and ends[0] != ends[1]:
        return f"{mean} ({'-'.join(ends)})"
    return mean


def _runs(row: Summary) -> str:
    if row.strategy is None:
        return MISSING
    total = row.completed + row.unfinished
    return str(total) if not row.unfinished else f"{row.completed} of {total}"


def _header(columns: Sequence[Column]) -> list[str]:
    return ["", "runs", *(column.title for column in columns)]


def markdown(rows: Sequence[Summary], columns: Sequence[Column]) -> str:
    """A Markdown table with right-aligned numbers."""
    lines = [_header(columns), ["---", *["---:"] * (len(columns) + 1)]]
    lines += [cells(row, columns) for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def terminal(title: str, rows: Sequence[Summary], columns: Sequence[Column]) -> Table:
    """The same table for a terminal, the references set apart by a rule."""
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    table.pad_edge, table.collapse_padding = False, True
    for index, name in enumerate(_header(columns)):
        justify: Literal["left", "right"] = "right" if index else "left"
        table.add_column(name.replace(" ", "\n"), justify=justify, no_wrap=True)
    for row, following in zip(rows, [*rows[1:], None], strict=True):
        last_reference = row.strategy is None and following and following.strategy is not None
        table.add_row(*cells(row, columns), end_section=bool(last_reference))
    return table


def as_csv(rows: Sequence[Summary]) -> str:
    """All measures, unrounded, accuracies as fractions: mean, 95% half width, least and most."""
    keys = [column.key for column in (*LEARNING, *STABILITY)] + list(CSV_ONLY)
    parts = ("mean", "ci95", "min", "max")
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        ["name", "strategy", "completed", "unfinished", *(f"{k}_{p}" for k in keys for p in parts)]
    )
    for row in rows:
        numbers = [number for key in keys for number in _numbers(row.values.get(key))]
        writer.writerow([row.name, row.strategy or "", row.completed, row.unfinished, *numbers])
    return out.getvalue()


def _numbers(value: Interval | None) -> list[float | None]:
    return [value.mean, value.half, value.least, value.most] if value else [None] * 4
