"""From runs to numbers: what one run measured, and what an arm's seeds say together."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from gndpo.report import stats
from gndpo.report.arms import Arm, models
from gndpo.report.load import Floats, Row, Run, eval_rows, series
from gndpo.report.stats import Interval

Measures = dict[str, float | None]
ROUNDING = 1e-9
LONGEST_NAME = 32  # characters of a reference that several models share
ACCURACIES = {
    "accuracy": "eval/acc_1",
    "accuracy_t1": "eval/acc_k",
    "pass_k": "eval/pass_k",
    "blind": "eval/blind",
    "format": "eval/format",
    "truncated": "eval/truncated",
}


@dataclass(frozen=True)
class Summary:
    """One row of the report. `values` holds only what was measured."""

    name: str
    strategy: str | None  # None: a reference (base student, teacher), not an arm
    completed: int
    unfinished: int
    values: dict[str, Interval]


def summarize(arm: Arm) -> Summary:
    """An arm's numbers over the seeds that completed."""
    values = _over_seeds([measure(run) for run in arm.completed])
    return Summary(arm.name, arm.strategy, len(arm.completed), len(arm.unfinished), values)


def measure(run: Run) -> Measures:
    """Everything the report says about one run; None where it was not measured."""
    norms = series(run.metrics, "grad/norm")[1]
    final = _accuracies(final_row(run))
    base, teacher = base_measures(run)["accuracy"], teacher_measures(run)["accuracy"]
    return final | {
        "gain": stats.gain(final["accuracy"], base),
        "gap_closed": stats.gap_closed(final["accuracy"], base, teacher),
        "kl": stats.tail_mean(series(run.metrics, "teacher/kl")[1]),
        "grad_norm": stats.median(norms),
        "tail_ratio": stats.tail_ratio(norms),
        "spikes": stats.spikes(norms),
        "cosine": _of(np.mean, run, "grad/cosine_halves"),
        "variation": stats.variation(norms),
        "clipped": _of(np.mean, run, "grad/clipped"),
        "skipped": _of(np.sum, run, "grad/skipped"),
        "lost": stats.lost_accuracy(validation_curve(run)[1]),
        "seconds": _of(np.median, run, "time/step"),
        "tokens_per_s": _of(np.median, run, "time/tokens_per_s"),
    }


def validation_curve(run: Run) -> tuple[Floats, Floats]:
    """Steps and greedy accuracies of the student on the validation split, step 0 included."""
    return series(eval_rows(run, "student", "validation"), "eval/acc_1")


def base_measures(run: Run) -> Measures:
    """The student before its first update."""
    steps, kl = series(run.metrics, "teacher/kl")
    first = min((int(row["step"]) for row in run.metrics), default=None)
    measured_first = len(steps) > 0 and steps[0] == first
    return _accuracies(base_row(run)) | {"kl": float(kl[0]) if measured_first else None}


def teacher_measures(run: Run) -> Measures:
    """The teacher, as the run evaluated it last."""
    return _accuracies(teacher_row(run))


def final_row(run: Run) -> Row:
    """The student's test after training; step 0 was before it."""
    rows = eval_rows(run, "student", "test")
    return rows[-1] if rows and int(rows[-1]["step"]) > 0 else {}


def base_row(run: Run) -> Row:
    """The student's test before training."""
    rows = eval_rows(run, "student", "test")
    return rows[0] if rows and int(rows[0]["step"]) == 0 else {}


def teacher_row(run: Run) -> Row:
    """The teacher's last test."""
    rows = eval_rows(run, "teacher", "test")
    return rows[-1] if rows else {}


def references(runs: Sequence[Run]) -> list[Summary]:
    """Base student and teacher, and a row more for runs that used other models."""
    rows = []
    for title, read in (("base student", base_measures), ("teacher", teacher_measures)):
        first, *others = groups = by_model(runs, read)
        usual = not others or len(first) > len(others[0])
        for alike in groups:
            plain = usual and alike is first
            name = title if plain else _named(title, alike)
            rows.append(_reference(name, read, _with_models(runs, alike)))
    return rows


def by_model(runs: Sequence[Run], read: Callable[[Run], Measures]) -> list[list[str]]:
    """Names of models that are equally accurate, most first; unmeasured ones only if all are."""
    found: dict[float | None, list[str]] = {}
    for name in dict.fromkeys(models(run) for run in runs):
        row = _reference("", read, _with_models(runs, [name]))
        found.setdefault(_accuracy(row), []).append(name)
    measured = [names for accuracy, names in found.items() if accuracy is not None]
    return sorted(measured or found.values(), key=len, reverse=True)


def _named(title: str, alike: Sequence[str]) -> str:
    """`teacher (self_supervised, vcsd)`, or `teacher (several_teachers +3)` where that is long."""
    names = [name.removeprefix("methods/") or "no preset" for name in alike]
    whole = f"{title} ({', '.join(names)})"
    short = f"{title} ({names[0]} +{len(names) - 1})"
    return whole if len(names) == 1 or len(whole) <= LONGEST_NAME else short


def _reference(title: str, read: Callable[[Run], Measures], runs: Iterable[Run]) -> Summary:
    """One model seen from many runs: the median per seed, and one value where all seeds agree.

    A median, because a few methods measure the base student's KL on other answers or teachers.
    """
    by_seed: dict[int, list[Measures]] = {}
    for run in runs:
        by_seed.setdefault(run.seed, []).append(read(run))
    values = _over_seeds([_median(measured) for measured in by_seed.values()])
    alike = {k: v.most - v.least < ROUNDING for k, v in values.items()}
    shown = {k: stats.interval([v.mean]) if alike[k] else v for k, v in values.items()}
    return Summary(title, None, 0, 0, shown)


def _over_seeds(measured: Sequence[Measures]) -> dict[str, Interval]:
    names = dict.fromkeys(name for measures in measured for name in measures)
    found = {name: present(measured, name) for name in names}
    return {name: stats.interval(values) for name, values in found.items() if values}


def _median(measured: Sequence[Measures]) -> Measures:
    names = dict.fromkeys(name for measures in measured for name in measures)
    return {name: stats.median(np.array(present(measured, name))) for name in names}


def present(measured: Sequence[Measures], name: str) -> list[float]:
    """The finite values of one measure."""
    values = [measures.get(name) for measures in measured]
    return [value for value in values if value is not None and np.isfinite(value)]


def _accuracies(row: Row) -> Measures:
    return {name: row.get(key) for name, key in ACCURACIES.items()}


def _of(reduce: Callable[[Floats], float], run: Run, key: str) -> float | None:
    """A statistic of the finite values of one metric."""
    values = series(run.metrics, key)[1]
    finite = values[np.isfinite(values)]
    return float(reduce(finite)) if len(finite) else None


def _with_models(runs: Sequence[Run], names: Sequence[str]) -> list[Run]:
    return [run for run in runs if models(run) in names]


def _accuracy(row: Summary) -> float | None:
    found = row.values.get("accuracy")
    return round(found.mean, 9) if found else None
