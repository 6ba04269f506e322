"""Rows of a data set that is read from its start: nothing is downloaded first, nothing is held."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import count, islice
from typing import Any

import aiohttp
from huggingface_hub.errors import HfHubHTTPError

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

WAITS = (1.0, 5.0, 30.0, 120.0)
"""Seconds before a source that failed is read again."""
HTTP: Any = HfHubHTTPError.__bases__[0]  # of whichever client the hub's library has
NETWORK = (OSError, aiohttp.ClientError, HTTP)
"""What sources raise: files and sockets, fsspec, the hub."""

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

    def open(self, epoch: int, tried: list[Choice]) -> Pass:
        """A pass from its start, with a choice of its own."""
        tried.append(self.choice())
        return self.passes(epoch, tried[-1])

    def fitting(self) -> Iterator[tuple[dict[str, Any], str]]:
        for epoch in count() if self.endless else range(1):
            tried: list[Choice] = []
            faults: Counter[str] = Counter()
            kept = 0
            for record in steady(partial(self.open, epoch, tried), self.name):
                name = f"{self.name}/{record.pop(PLACE)}"
                fault = self.filters.fault(record, self.reader, name)
                if fault is None:
                    kept += 1
                    yield record, name
                else:
                    faults[fault] += 1
            faults += tried[-1].faults
            found = summary(self.name, kept + faults.total(), faults)
            if kept == 0:
                raise UserError(
                    f"no row is left: {found}; loosen data.rows.filters or data.rows.keep, or "
                    "change data.rows.splits"
                )
            log.info("%s, pass %d", found, epoch + 1)


def steady(start: Callable[[], Pass], name: str) -> Iterator[dict[str, Any]]:
    """The records of a pass. Where its source fails it is read again up to that record, after a
    pause; it is given up when it fails after each of WAITS at the same place."""
    given = failures = 0
    while True:
        try:
            for record in islice(start(), given, None):
                yield record
                given, failures = given + 1, 0
        except NETWORK as error:
            if failures == len(WAITS):
                raise UserError(
                    f"{name}: record {given} of the stream cannot be read after {failures + 1} "
                    f"attempts ({type(error).__name__}: {error!s:.80}); check the network, then "
                    "ckpt=last continues the run, or set data.rows.streaming=false"
                ) from error
            log.warning("%s: %s; read again in %g s", name, error, WAITS[failures])
            time.sleep(WAITS[failures])
            failures += 1
        else:
            return


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
