"""One record of a data set: columns and what lies inside them."""

from collections.abc import Mapping
from typing import Any

from datasets import ClassLabel

from gndpo.errors import UserError

Record = Mapping[str, Any]
"""Columns as plain Python values; an image is what the data holds, not yet decoded."""


class RowError(UserError):
    """A row that cannot be used. fault: follows a count, as in "3 for an empty answer"."""

    def __init__(self, row: str, message: str, fault: str) -> None:
        super().__init__(
            f"{row}: {message}; mend the data, or leave such rows out with "
            "data.rows.filters.corrupt=drop"
        )
        self.fault = fault


def labels_of(data: Any) -> dict[str, list[str]]:
    """The names of class labels, for the columns that hold their numbers."""
    features = data.features or {}
    return {name: x.names for name, x in features.items() if isinstance(x, ClassLabel)}


def labelled(record: Record, labels: Mapping[str, list[str]]) -> dict[str, Any]:
    """The record with labels' names in place of their numbers."""
    named = {
        column: None if record[column] is None else names[record[column]]
        for column, names in labels.items()
    }
    return {**record, **named}


def value_at(record: Record, path: str, row: str) -> Any:
    """What a dotted path leads to ("messages.0.content"); a column's own name may hold dots. None
    where something on the way is null."""
    if path in record:
        return record[path]
    column, *steps = path.split(".")
    if column not in record:
        raise UserError(
            f"{row}: there is no column '{column}' (the data has {', '.join(record)}); "
            "name one of these in data.rows, or null for none"
        )
    value = record[column]
    for step in steps:
        if value is None:
            return None
        try:
            value = value[int(step)] if isinstance(value, list) else value[step]
        except (IndexError, KeyError, TypeError, ValueError) as error:
            found = ", ".join(value) if isinstance(value, dict) else f"{value!r:.60}"
            raise RowError(
                row, f"'{path}' leads nowhere at '{step}', where there is {found}", f"no {path}"
            ) from error
    return value


def text_at(record: Record, path: str | None, row: str) -> str:
    """The value as text; "" for null, and where no path is given."""
    value = None if path is None else value_at(record, path, row)
    return "" if value is None else str(value)
