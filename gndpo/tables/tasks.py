"""What fills the missing cells of a table: trainings, evaluations, results of other harnesses."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from gndpo.arguments import folder_name
from gndpo.tables.definition import OWN, Column, Row, Table
from gndpo.tables.measured import Filling, values

Batch = Callable[[str], int]
"""Benchmark -> prompts that gndpo-eval answers at a time."""


@dataclass(frozen=True)
class Task:
    """kind: train, eval or import. row: its key. seeds: that are trained, or the one that is
    measured. benchmarks: that are measured."""

    kind: str
    row: str
    seeds: tuple[int, ...]
    benchmarks: tuple[str, ...]
    command: str


def tasks(
    table: Table,
    fillings: Mapping[str, Filling],
    seeds: Sequence[int],
    batch: Batch,
    more: Sequence[str] = (),
) -> list[Task]:
    """In an order that can be followed: first all training. Seeds that were run beside those asked
    for are measured, too. more: overrides of every training."""
    found = [*trainings(table, fillings, seeds, more)]
    for key, row in table.rows.items():
        if row.without:
            continue
        ran = fillings[key].runs
        for seed in sorted({*seeds, *ran}) if row.trained else [*ran, *seeds][:1]:
            folder = str(ran[seed].folder) if seed in ran else folder_of(table, row, seed, more)
            missing = [
                column
                for column in columns_of(table, key)
                if lacks(fillings[key], row, column, seed) and folder
            ]
            found += measurings(table, key, seed, folder, missing, batch)
    return sorted(found, key=lambda task: ("train", "eval", "import").index(task.kind))


def trainings(
    table: Table, fillings: Mapping[str, Filling], seeds: Sequence[int], more: Sequence[str]
) -> Iterator[Task]:
    for key, row in table.rows.items():
        left = tuple(seed for seed in seeds if seed not in fillings[key].runs)
        if row.trained and left:
            what = " ".join([*row.overrides, *more, f"seed={','.join(map(str, left))}"])
            yield Task("train", key, left, (), f"gndpo-train -m {what} sweep={table.sweep}")


def folder_of(table: Table, row: Row, seed: int, more: Sequence[str] = ()) -> str:
    """Where the commands put a run: for a model that is not trained, the first arm's that has it;
    "" where no arm has."""
    arms = [other for other in table.rows.values() if other.trained]
    fitting = [row] if row.trained else [x for x in arms if {*row.overrides} <= {*x.overrides}]
    if not fitting:
        return ""
    name = ",".join(sorted([*fitting[0].overrides, *more, f"seed={seed}"]))
    return f"runs/{table.sweep}/{folder_name(name)}"


def columns_of(table: Table, key: str) -> list[Column]:
    return [column for panel in table.panels if key in panel.rows for column in panel.columns]


def lacks(filling: Filling, row: Row, column: Column, seed: int) -> bool:
    """A training measures its own test rows; a teacher has no results of other harnesses."""
    if column.benchmark == OWN or (column.external and row.checkpoint == "teacher"):
        return False
    known = values(filling, row, column)
    return seed not in known if row.trained else not known


def measurings(
    table: Table, key: str, seed: int, folder: str, missing: Sequence[Column], batch: Batch
) -> Iterator[Task]:
    """One command for all benchmarks that are asked alike."""
    alike: dict[int, dict[str, None]] = defaultdict(dict)
    which = table.rows[key].checkpoint
    checkpoint = "" if which == "last" else f" checkpoint={which}"
    for column in missing:
        if column.external:
            yield Task("import", key, (seed,), (), importing(folder, column, checkpoint))
        else:
            alike[batch(column.benchmark)][column.benchmark] = None
    for size, names in alike.items():
        how = " ".join(filter(None, (f"device=cuda batch={size}", table.evaluate)))
        what = f"run={folder}{checkpoint} benchmark={','.join(names)}"
        command = f"gndpo-eval -m {what} {how}"
        yield Task("eval", key, (seed,), tuple(names), command)


def importing(folder: str, column: Column, checkpoint: str) -> str:
    """Three steps, the second outside: a comment for the shell."""
    name = column.benchmark
    return (
        f"# {name}, {column.measure}: gndpo-export run={folder}{checkpoint} to=exported/<name>; "
        f"measure it with {column.label}'s own harness; gndpo-eval run={folder} results={name}.json"
    )
