"""Rows of a data set that is read from its start: nothing is downloaded first, nothing is held."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from typing import Any

from gndpo.data.filters import Choice, Filters, summary
from gndpo.data.reader import Reader
from gndpo.data.records import labelled, labels_of
from gndpo.data.rows import Row
from gndpo.data.source import UNBOUNDED, Cut
from gndpo.errors import UserError
from gndpo.rng import generator

log = logging.getLogger(__name__)
PLACE = "__place__"
"""Column that holds a record's place in its split."""

Pass = Iterable[dict[str, Any]]


class Streamed:
    """Rows in the order of the stream; an index never goes back, and one that goes ahead skips.

    passes: (epoch, choice) -> its records. choice: a new one for a pass. Training begins again
    after the last row; other splits end there with an IndexError.
    """

    def __init__(
        self,
        passes: Callable[[int, Choice], Pass],
        choice: Callable[[], Choice],
        name: str,
        reader: Reader,
        filters: Filters,
        *,
        endless: bool,
    ) -> None:
        self.passes, self.choice, self.name = passes, choice, name
        self.reader, self.filters, self.endless = reader, filters, endless
        self.next = 0
        self.records = self.fitting()

    def __len__(self) -> int:
        raise UserError(
            f"{self.name} is a stream, whose length is not known; use data.rows.streaming=false"
        )

    def __getitem__(self, index: int) -> Row:
        if index < self.next:
            raise UserError(
                f"data.rows.streaming=true: row {index} was asked for after row {self.next - 1}, "
                "and a stream does not go back; use data.rows.streaming=false"
            )
        for record, name in self.records:
            self.next += 1
            if self.next > index:
                return self.reader.row(record, name)
        raise IndexError(f"row {index}: there are {self.next}, counted from 0")

    def fitting(self) -> Iterator[tuple[dict[str, Any], str]]:
        for epoch in count() if self.endless else range(1):
            choice = self.choice()
            faults: Counter[str] = Counter()
            kept = 0
            for record in self.passes(epoch, choice):
                name = f"{self.name}/{record.pop(PLACE)}"
                fault = self.filters.fault(record, self.reader, name)
                if fault is None:
                    kept += 1
                    yield record, name
                else:
                    faults[fault] += 1
            faults += choice.faults
            found = summary(self.name, kept + faults.total(), faults)
            if kept == 0:
                raise UserError(
                    f"no row is left: {found}; loosen data.rows.filters or data.rows.keep, or "
                    "change data.rows.splits"
                )
            log.info("%s, pass %d", found, epoch + 1)


def passes(data: Any, cut: Cut, seed: int, buffer: int | None) -> Callable[[int, Choice], Pass]:
    """(epoch, choice) -> records of the cut. buffer: rows among which the next one is drawn; null:
    in order."""

    labels = labels_of(data)

    def numbered(record: dict[str, Any], place: int) -> dict[str, Any]:
        return labelled(record, labels) | {PLACE: place}

    def records(epoch: int, choice: Choice) -> Pass:
        stream = data.decode(False).map(numbered, with_indices=True)
        stream = stream.filter(lambda record: choice(record, str(record[PLACE])))
        stream = stream.skip(cut.start)  # also keeps shards in order, so that places are true
        if cut.stop < UNBOUNDED:
            stream = stream.take(cut.stop - cut.start)
        if buffer is not None:
            draws = generator(seed, "rows/stream", step=epoch)
            stream = stream.shuffle(seed=int(draws.integers(2**31)), buffer_size=buffer)
        ordered: Pass = stream
        return ordered

    return records
