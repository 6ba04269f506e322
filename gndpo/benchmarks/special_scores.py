"""Scores over several rows, where a benchmark defines one: (records, 0 or 1 per record) -> named
fractions of 1."""

from collections.abc import Callable, Mapping, Sequence

from gndpo.benchmarks.answer_file import Record
from gndpo.errors import UserError
from gndpo.metrics import mean

Special = Callable[[Sequence[Record], Sequence[float]], Mapping[str, float]]


def worst_case(
    records: Sequence[Record], correct: Sequence[float], *, group: str
) -> dict[str, float]:
    """worst: share of groups whose every row is right (DynaMath, arXiv 2411.00836: the variants of
    a question)."""
    groups = grouped(records, correct, group)
    return {"worst": mean([min(x for _, x in rows) for rows in groups.values()])}


def we_math(
    records: Sequence[Record], correct: Sequence[float], *, group: str, key: str
) -> dict[str, float]:
    """strict, loose: We-Math's score (arXiv 2407.01284) over problems with 2 or 3 steps.

    A problem is mastered, 1, where the whole and every step (loose: any step) are right, and half
    understood, 0.5, where every step is right and the whole wrong; else 0. `key` names the whole
    <n>steps_multi; problems without it, or without steps, are left out.
    """
    strict, loose = [], []
    for rows in grouped(records, correct, group).values():
        whole = [x for r, x in rows if column(r, key).endswith("_multi")]
        steps = [x for r, x in rows if is_step(column(r, key))]
        if whole and steps:
            generalized = 0.5 * (min(steps) - min(steps) * whole[0])
            strict.append(whole[0] * min(steps) + generalized)
            loose.append(whole[0] * max(steps) + generalized)
    return {"strict": mean(strict), "loose": mean(loose)} if strict else {}


def is_step(name: str) -> bool:
    return "steps_" in name and not name.endswith("_multi")


def grouped(
    records: Sequence[Record], correct: Sequence[float], name: str
) -> dict[str, list[tuple[Record, float]]]:
    groups: dict[str, list[tuple[Record, float]]] = {}
    for record, x in zip(records, correct, strict=True):
        groups.setdefault(column(record, name), []).append((record, x))
    return groups


def column(record: Record, name: str) -> str:
    if name not in record["fields"]:
        raise UserError(
            f"row {record['row']}: benchmark.special names the field '{name}', the row has "
            f"{', '.join(record['fields']) or 'none'}; add it to benchmark.rows.fields.further"
        )
    return record["fields"][name]
