"""Accuracy after training: by kind of question, with the image and without it."""

from collections.abc import Sequence
from typing import Any

from gndpo.report.arms import Arm
from gndpo.report.load import Row, Run, eval_rows
from gndpo.report.stats import interval

KIND = "eval/acc_1/"


def accuracy(runs: Sequence[Run], arms: Sequence[Arm]) -> dict[str, Any]:
    """On test questions, as fractions: [mean, low, high] of every arm, [mean] of one with one run
    and of base student and teacher, whom many runs share."""
    base, teacher = ([read(run) for run in runs] for read in (_base, _teacher))
    shared = {"base student": base, "teacher": teacher}
    trained = {arm.name: [_final(run) for run in arm.completed] for arm in arms}
    rows = shared | trained
    kinds = sorted({key for found in rows.values() for row in found for key in _kinds(row)})
    keys = ["eval/acc_1", "eval/blind", *kinds]
    models = []
    for name, found in rows.items():
        image, blind, *by_kind = [_mean(found, key, name in trained) for key in keys]
        models.append({"name": name, "image": image, "blind": blind, "kinds": by_kind})
    return {"kinds": [key.removeprefix(KIND) for key in kinds], "models": models}


def _final(run: Run) -> Row:
    """The student after training."""
    rows = eval_rows(run, "student", "test")
    return rows[-1] if rows and int(rows[-1]["step"]) > 0 else {}


def _base(run: Run) -> Row:
    """The student before training."""
    rows = eval_rows(run, "student", "test")
    return rows[0] if rows and int(rows[0]["step"]) == 0 else {}


def _teacher(run: Run) -> Row:
    rows = eval_rows(run, "teacher", "test")
    return rows[-1] if rows else {}


def _kinds(row: Row) -> list[str]:
    return [key for key in row if key.startswith(KIND)]


def _mean(rows: Sequence[Row], key: str, spread: bool) -> list[float] | None:
    """Mean over runs and, where they are several, its 95% t interval."""
    values = [float(row[key]) for row in rows if row.get(key) is not None]
    if not values:
        return None
    found = interval(values)
    several = spread and found.half is not None
    return [found.mean, found.low, found.high] if several else [found.mean]
