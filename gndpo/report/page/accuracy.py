"""Accuracy after training: by kind of question, with the image and without it."""

from collections.abc import Sequence
from typing import Any

from gndpo.report.arms import Arm
from gndpo.report.load import Row, Run
from gndpo.report.measures import (
    base_measures,
    base_row,
    by_model,
    final_row,
    present,
    teacher_measures,
    teacher_row,
)
from gndpo.report.stats import interval

KIND = "eval/acc_1/"


def accuracy(runs: Sequence[Run], arms: Sequence[Arm]) -> dict[str, Any]:
    """On test questions, as fractions: [mean, low, high] of every arm, [mean] of one with one run
    and of base student and teacher, which are not measured where experiments differ in theirs."""
    same_base = len(by_model(runs, base_measures)) == 1
    same_teacher = len(by_model(runs, teacher_measures)) == 1
    shared = {
        "base student": [base_row(run) for run in runs if same_base],
        "teacher": [teacher_row(run) for run in runs if same_teacher],
    }
    trained = {arm.name: [final_row(run) for run in arm.completed] for arm in arms}
    rows = shared | trained
    kinds = sorted({key for found in rows.values() for row in found for key in _kinds(row)})
    keys = ["eval/acc_1", "eval/blind", *kinds]
    models = []
    for name, found in rows.items():
        image, blind, *by_kind = [_mean(found, key, name in trained) for key in keys]
        models.append({"name": name, "image": image, "blind": blind, "kinds": by_kind})
    return {"kinds": [key.removeprefix(KIND) for key in kinds], "models": models}


def _kinds(row: Row) -> list[str]:
    return [key for key in row if key.startswith(KIND)]


def _mean(rows: Sequence[Row], key: str, spread: bool) -> list[float] | None:
    """Mean over runs and, where they are several, its 95% t interval."""
    values = present(rows, key)
    if not values:
        return None
    found = interval(values)
    several = spread and found.half is not None
    return [found.mean, found.low, found.high] if several else [found.mean]
