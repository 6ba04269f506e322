"""Rows of a data set whose every row can be reached: chosen, and endlessly shuffled."""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gndpo.data.filters import Choice, Filters, summary
from gndpo.data.reader import Reader
from gndpo.data.records import Record, labelled, labels_of
from gndpo.data.rows import Row
from gndpo.errors import UserError
from gndpo.rng import generator

log = logging.getLogger(__name__)

Places = NDArray[np.int64]
BATCH = 256
"""Records that are read at a time when all of them are."""


class Records:
    """The records of one split, not decoded. name: of the split, for sentences about rows."""

    def __init__(self, data: Any, name: str) -> None:
        self.data, self.name = data.with_format("arrow"), name
        self.labels = labels_of(data)

    def __len__(self) -> int:
        return len(self.data)

    def title(self, place: int) -> str:
        return f"{self.name}/{place}"

    def at(self, places: Sequence[int]) -> Sequence[Record]:
        found = self.data[list(places)].to_pylist()
        return [labelled(record, self.labels) for record in found]

    def only(self, paths: Sequence[str]) -> "Records":
        """The columns in which these paths start; all of them if one is unknown, so that sentences
        can say what there is."""
        starts = [p if p in self.data.column_names else p.split(".")[0] for p in paths]
        if not set(starts) <= set(self.data.column_names):
            return self
        return Records(self.data.select_columns(list(dict.fromkeys(starts))), self.name)

    def each(self, places: Places) -> Iterator[tuple[int, Record]]:
        for start in range(0, len(places), BATCH):
            chunk = places[start : start + BATCH].tolist()
            yield from zip(chunk, self.at(chunk), strict=True)


class Indexed:
    """Rows of some places of the records.

    Endless rows: row i is place i % n of the epoch i // n, which `mix` shuffles in an order that
    depends on (seed, epoch) alone. Others: in order, and IndexError behind the last.
    """

    def __init__(
        self,
        records: Records,
        places: Places,
        reader: Reader,
        seed: int,
        *,
        endless: bool,
        mix: bool,
    ) -> None:
        self.records, self.places, self.reader = records, places, reader
        self.seed, self.endless, self.mix = seed, endless, mix
        self.at(int(places[0]))  # a wrong column, path or template shows itself at the start

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Row:
        n = len(self.places)
        if index < 0 or (index >= n and not self.endless):
            raise IndexError(f"row {index}: there are {n}, counted from 0")
        at = order(self.seed, index // n, n)[index % n] if self.mix and self.endless else index % n
        return self.at(int(self.places[at]))

    def at(self, place: int) -> Row:
        return self.reader.row(self.records.at([place])[0], self.records.title(place))


@lru_cache(maxsize=4)
def order(seed: int, epoch: int, n: int) -> Places:
    """The permutation of an epoch."""
    return generator(seed, "rows/train", step=epoch).permutation(n)


def chosen(records: Records, choice: Choice) -> Places:
    """The places of the rows that belong to the source."""
    places = np.arange(len(records))
    if not choice.columns:
        return places
    found = records.only(choice.columns).each(places)
    return np.array([p for p, record in found if choice(record, records.title(p))], np.int64)


def fitting(
    records: Records, places: Places, reader: Reader, filters: Filters, title: str
) -> Places:
    """The places whose rows stay; says how many were left out for what, and refuses if all are."""
    columns = filters.columns(reader)
    faults: Counter[str] = Counter()
    stay = places.tolist() if not columns else []
    for place, record in records.only(columns).each(places) if columns else ():
        fault = filters.fault(record, reader, records.title(place))
        if fault is None:
            stay.append(place)
        else:
            faults[fault] += 1
    found = summary(title, len(places), faults)
    log.info("%s", found)
    if not stay:
        raise UserError(
            f"no row is left: {found}; loosen data.rows.filters or data.rows.keep, or change "
            "data.rows.splits"
        )
    return np.array(stay, np.int64)
