"""Which runs fill a table's rows, and what was measured of them."""

import csv
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from gndpo.folders import config_folder
from gndpo.report.arms import NOT_AN_ARM
from gndpo.report.load import Row as Line
from gndpo.report.load import Run, eval_rows, is_number, read_log
from gndpo.report.words import listed
from gndpo.tables.definition import OWN, Column, Panel, Row, Table

SAME = (
    *("rollout.micro", "rollout.answers", "rollout.speed", "updates.micro", "updates.answers"),
    *("updates.tokens", "updates.chunk", "reuse", "trainer", "eval", "checkpoint", "samples"),
    *("diagnose", "data.ahead", "data.rows.source", "model.checkpointing", "budget"),
)
"""Keys that do not change what is learned, besides those of `gndpo.report.arms`."""


@dataclass(frozen=True)
class Filling:
    """A row's runs by seed, with their evaluations; remarks: what is odd about them."""

    runs: Mapping[int, Run]
    evaluations: Mapping[Path, Sequence[Line]]
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Found:
    """value: a fraction of 1, over n questions. run, step: of the checkpoint. who: student or
    teacher."""

    value: float
    n: int
    run: Run
    step: int
    who: str


def fill(table: Table, runs: Sequence[Run]) -> dict[str, Filling]:
    """Every row's completed runs. A run belongs to the row with most of its overrides; runs with
    more overrides than the row fill it only where none has exactly the row's."""
    chosen: dict[str, dict[frozenset[str], list[Run]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        for key in rows_of(run, table):
            more = identity(run, table.rows[key]) - frozenset(table.rows[key].overrides)
            chosen[key][more].append(run)
    return {key: filling(key, row, chosen[key]) for key, row in table.rows.items()}


def rows_of(run: Run, table: Table) -> list[str]:
    fitting = [
        key
        for key, row in table.rows.items()
        if row.without is None and frozenset(row.overrides) <= identity(run, row)
    ]
    trained = [key for key in fitting if table.rows[key].trained and run.completed]
    best = max(trained, key=lambda key: len(table.rows[key].overrides), default=None)
    return [key for key in fitting if key == best or not table.rows[key].trained]


def identity(run: Run, row: Row) -> frozenset[str]:
    """What makes a run the arm that it is; for a row that is not trained, its models alone."""
    given = {str(override).lstrip("+~") for override in run.info.get("overrides") or ()}
    kept = {x for x in given if not bookkeeping(x.partition("=")[0])}
    if not row.trained:
        kept = {x for x in kept if x.startswith("model.pair.")}
        return frozenset(kept | {f"experiment={run.experiment}"})
    return frozenset(kept | {f"experiment={run.experiment}", f"advantage={run.strategy}"})


def bookkeeping(key: str) -> bool:
    root = key.replace("/", ".").split(".")[0]
    named = root in NOT_AN_ARM or key in ("experiment", "advantage")
    return named or any(key == same or key.startswith(f"{same}.") for same in SAME)


def filling(key: str, row: Row, variants: Mapping[frozenset[str], list[Run]]) -> Filling:
    exact = frozenset[str]()
    if exact not in variants and len(variants) > 1:
        kinds = [" ".join(sorted(x)) for x in variants]
        return Filling({}, {}, (f"{row.label}: left out, its runs differ: {listed(kinds)}",))
    more = exact if exact in variants or not variants else next(iter(variants))
    runs = sorted(variants.get(more, []), key=lambda run: str(run.info.get("started") or ""))
    by_seed = {run.seed: run for run in runs}
    read = {run.folder: read_log(run.folder / "evaluations.jsonl")[0] for run in by_seed.values()}
    odd = f"{row.label}: its runs also have {' '.join(sorted(more))}, which the preset has not"
    return Filling(by_seed, read, (odd,) if more else ())


def values(filling: Filling, row: Row, column: Column) -> dict[int, Found]:
    """What is known of a cell, by seed."""
    found = {seed: value(filling, run, row, column) for seed, run in filling.runs.items()}
    return {seed: one for seed, one in sorted(found.items()) if one is not None}


def value(filling: Filling, run: Run, row: Row, column: Column) -> Found | None:
    """Of the evaluations of the checkpoint in question the one of most questions, the last of
    these; what is no number is left out."""
    step = run.info.get("steps") if row.checkpoint == "last" else 0
    who = "teacher" if row.checkpoint == "teacher" else "student"
    key = f"eval/{column.measure}"
    if column.benchmark == OWN:
        lines = [line for line in eval_rows(run, who, OWN) if key in line]
        rows = [(line[key], line) for line in lines if line["step"] == step]
    else:
        lines = [x for x in filling.evaluations[run.folder] if x["step"] == step]
        lines = [x for x in lines if x.get("benchmark") == column.benchmark]
        rows = [(x[key], x) for x in lines if x.get("model") == who and key in x]
        if who == "student":  # another harness measures exported students
            rows += [(x.get("value"), x) for x in lines if x.get("metric") == column.measure]
    known = [
        (float(x), line)
        for x, line in rows
        if is_number(x) and math.isfinite(x) and isinstance(line.get("n"), int)
    ]
    if not known:
        return None
    number, line = max(reversed(known), key=lambda pair: int(pair[1]["n"]))
    return Found(number, line["n"], run, line["step"], who)


def means(
    filling: Filling, panel: Panel, cells: Mapping[str, Mapping[int, Found]]
) -> dict[int, float]:
    """Mean over a panel's columns for the seeds that have them all."""
    seeds = [s for s in filling.runs if all(s in cells[c.benchmark] for c in panel.columns)]
    count = len(panel.columns)
    return {s: sum(cells[c.benchmark][s].value for c in panel.columns) / count for s in seeds}


@cache
def questions() -> dict[str, int]:
    """How many a benchmark has, where that is known."""
    with (Path(config_folder()) / "table" / "questions.csv").open(
        encoding="utf-8", newline=""
    ) as file:
        return {line["benchmark"]: int(line["questions"]) for line in csv.DictReader(file)}
