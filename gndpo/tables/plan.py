"""`gndpo-table --plan`: the commands that fill a table, and what they would cost."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from hydra import compose
from omegaconf import DictConfig
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as RichTable

from gndpo.tables.definition import Row, Table
from gndpo.tables.measured import questions
from gndpo.tables.tasks import Task

HOUR, GB = 3600, 10**9
LEAST_WIDTH = 160
"""Columns; a narrower terminal wraps lines, which is better than cut numbers."""
COLUMNS = (
    *("", "runs", "training\nGPU hours", "gndpo-eval\nGPU hours", "checkpoints\nGB", "peak\nGB"),
)

Sections = Callable[[str], DictConfig]
"""Benchmark -> its composed configuration."""


@dataclass(frozen=True)
class Bill:
    """Of one row: runs, hours of training (with the run's own evaluation) and of gndpo-eval, bytes
    of checkpoints, bytes at the peak of one run (0: nothing is trained)."""

    label: str
    runs: int
    training: float
    evaluation: float
    disk: int
    peak: int


def sections(table: Table) -> Sections:
    """With what the table changes; each made once."""
    known: dict[str, DictConfig] = {}

    def section(name: str) -> DictConfig:
        if name not in known:
            given = [f"benchmark={name}", *table.evaluate.split()]
            known[name] = compose("evaluate", given).benchmark
        return known[name]

    return section


def batch_of(section: DictConfig, rows: int) -> int:
    """Prompts at a time for so many answers at a time."""
    return max(1, rows // max(1, int(section.k)))


def bills(
    table: Table, tasks: Sequence[Task], assume: DictConfig, more: Sequence[str]
) -> dict[str, Bill | None]:
    """By the label of every row of which something is missing that gndpo can do; None: its cost
    is not known."""
    section = sections(table)
    found = {}
    for key, row in table.rows.items():
        own = [task for task in tasks if task.row == key and task.kind != "import"]
        if own:
            found[f"{row.label} ({row.experiment})"] = bill(
                [*row.overrides, *more], row, own, section, assume
            )
    return found


def bill(
    overrides: list[str], row: Row, tasks: Sequence[Task], section: Sections, assume: DictConfig
) -> Bill | None:
    from gndpo.tables import cost, shapes  # torch and transformers take seconds to import

    assumed = cost.Assumed(**assume)  # type: ignore[arg-type]
    cfg = compose("train", overrides)
    one = cost.training(cfg, assumed)
    if one is None:
        return None
    pair = cfg.model.pair
    model = shapes.build(pair.teacher if row.checkpoint == "teacher" else pair.student)
    runs = sum(len(task.seeds) for task in tasks if task.kind == "train")
    seconds = sum(
        cost.evaluation(
            model,
            cost.asked(section(name), questions()[name]),
            batch_of(section(name), assumed.rows),
            assumed,
        )
        for task in tasks
        for name in task.benchmarks
    )
    hours = runs * (one.seconds + one.evaluation) / HOUR
    peak = one.peak if row.trained else 0
    return Bill(row.label, runs, hours, seconds / HOUR, runs * one.disk, peak)


def show(found: Mapping[str, Bill | None], tasks: Sequence[Task], assume: DictConfig) -> None:
    console = Console(width=max(Console().width, LEAST_WIDTH), highlight=False)
    for task in tasks:
        console.print(task.command, markup=False, soft_wrap=True)
    console.print(grid(found))
    for sentence in remarks(found, assume):
        console.print(sentence, markup=False)


def grid(found: Mapping[str, Bill | None]) -> RichTable:
    table = RichTable(title="What is missing", title_justify="left", box=SIMPLE_HEAD)
    for name in COLUMNS:
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    for label, bill in found.items():
        table.add_row(label, *(cells(bill) if bill else ["?"] * (len(COLUMNS) - 1)))
    known = [bill for bill in found.values() if bill]
    whole = Bill(
        "sum",
        sum(x.runs for x in known),
        sum(x.training for x in known),
        sum(x.evaluation for x in known),
        sum(x.disk for x in known),
        0,
    )
    table.add_section()
    table.add_row(whole.label, *cells(whole))
    return table


def cells(bill: Bill) -> list[str]:
    numbers = (bill.training, bill.evaluation, bill.disk / GB)
    peak = f"{bill.peak / GB:.0f}" if bill.peak else "-"
    return [str(bill.runs), *(f"{x:,.0f}" for x in numbers), peak]


def remarks(found: Mapping[str, Bill | None], assume: DictConfig) -> list[str]:
    """What the hours rest on, and what does not fit."""
    sentences = [
        f"Assumed, not measured: {assume.device}, {assume.flops / 1e12:g}e12 operations per second "
        f"at {assume.utilisation:.0%}, {assume.bandwidth / 1e12:g}e12 bytes per second at "
        f"{assume.reading:.0%}, {assume.latency:g} s per token of a batch at least, answers of "
        f"{assume.mean:.0%} of the longest allowed on average and of {assume.longest:.0%} in a "
        "batch's longest: other values with assume.<name>=, the arithmetic in docs/tables.md. "
        "Logs, answers and the models' own files are not counted."
    ]
    large = [name for name, x in found.items() if x and x.peak > assume.memory]
    if large:
        sentences.append(
            f"More than {assume.memory / GB:g} GB, so not on one such GPU as it stands: "
            f"{', '.join(large)}."
        )
    unknown = [name for name, x in found.items() if x is None]
    if unknown:
        listed = ", ".join(unknown)
        sentences.append(f"Not counted, an adapter or a shape that is not known: {listed}.")
    return sentences
