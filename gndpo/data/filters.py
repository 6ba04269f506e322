"""Rows that are left out, and why."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gndpo.data.images import opened
from gndpo.data.reader import Reader, several
from gndpo.data.records import Record, RowError, value_at
from gndpo.errors import UserError


class Choice:
    """Which rows of a source belong to it at all, decided before splits are cut; one choice for one
    pass over the rows.

    keep: column -> the values that stay. distinct: of rows with the same problem and images, only
    the first. faults: what was left out so far.
    """

    def __init__(self, keep: Mapping[str, Sequence[Any]], distinct: bool, reader: Reader) -> None:
        self.keep, self.distinct, self.reader = keep, distinct, reader
        self.seen: set[int] = set()
        self.faults: Counter[str] = Counter()

    @property
    def columns(self) -> list[str]:
        """What has to be read; empty if nothing has."""
        fields = self.reader.fields
        compared = [*several(fields.images), *several(fields.problem)] if self.distinct else []
        return [*self.keep, *compared]

    def __call__(self, record: Record, name: str) -> bool:
        fault = self.fault(record, name)
        if fault is not None:
            self.faults[fault] += 1
        return fault is None

    def fault(self, record: Record, name: str) -> str | None:
        for column, values in self.keep.items():
            if value_at(record, column, name) not in values:
                return f"another {column}"
        if self.distinct:
            identity = self.reader.identity(record, name)
            if identity in self.seen:
                return "a problem that came before"
            self.seen.add(identity)
        return None


@dataclass(frozen=True)
class Filters:
    """What a row must be like to be used; null: whatever it is.

    max_characters: of the problem. min_side, max_side, max_pixels: of every image, in pixels.
    corrupt: what becomes of rows that cannot be used (a broken image, an empty answer, a choice
    that does not exist): "refuse" stops at the first, "drop" leaves them out, for which all images
    are decoded once at the start.
    """

    max_characters: int | None
    min_side: int | None
    max_side: int | None
    max_pixels: int | None
    corrupt: str

    def __post_init__(self) -> None:
        if self.corrupt not in ("refuse", "drop"):
            raise UserError(
                f"data.rows.filters.corrupt={self.corrupt} is unknown; choose refuse or drop"
            )

    @property
    def sizes(self) -> bool:
        return any(x is not None for x in (self.min_side, self.max_side, self.max_pixels))

    def columns(self, reader: Reader) -> list[str]:
        """What has to be read to judge a row; empty if nothing has."""
        fields = reader.fields
        if self.corrupt == "drop":
            return fields.columns
        problem = several(fields.problem) if self.max_characters is not None else []
        return [*problem, *(several(fields.images) if self.sizes else [])]

    def fault(self, record: Record, reader: Reader, name: str) -> str | None:
        """Why the row is left out; None if it stays."""
        try:
            fault = self.misfit(record, reader, name)
            if fault is None and self.corrupt == "drop":
                reader.row(record, name)
            return fault
        except RowError as error:
            if self.corrupt == "refuse":
                raise
            return error.fault

    def misfit(self, record: Record, reader: Reader, name: str) -> str | None:
        longest = self.max_characters
        if longest is not None and len(reader.problem(record, name)) > longest:
            return f"a problem longer than {longest} characters"
        for image in reader.images(record, name) if self.sizes else []:
            small, large = sorted(opened(image, reader.folder, name).size)
            if self.min_side is not None and small < self.min_side:
                return f"an image smaller than {self.min_side} pixels"
            if self.max_side is not None and large > self.max_side:
                return f"an image larger than {self.max_side} pixels"
            if self.max_pixels is not None and small * large > self.max_pixels:
                return f"an image of more than {self.max_pixels} pixels"
        return None


def summary(title: str, rows: int, faults: Counter[str]) -> str:
    """geometry3k train: 2101 rows, 13 left out (11 for a problem longer than 4000 characters, 2 for
    an image smaller than 28 pixels)."""
    if not faults:
        return f"{title}: {rows} rows"
    listed = ", ".join(f"{count} for {fault}" for fault, count in faults.most_common())
    return f"{title}: {rows} rows, {faults.total()} left out ({listed})"
