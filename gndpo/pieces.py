"""A step's answers in pieces small enough for one forward."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Portion:
    """What goes through at a time. micro: prompts per forward (None: all). answers: of one prompt
    per forward (None: the whole group). chunk: rows of the vocabulary matrix."""

    micro: int | None
    answers: int | None
    chunk: int


@dataclass(frozen=True)
class Piece:
    """The prompts start..stop-1 and consecutive answers of theirs, the rows of the batch."""

    start: int
    stop: int
    rows: slice

    @property
    def prompts(self) -> slice:
        return slice(self.start, self.stop)


def pieces(
    start: int, stop: int, group: int, micro: int | None, answers: int | None
) -> Iterator[Piece]:
    """The answers to prompts start..stop-1, some prompts at a time; where `answers` are less than a
    group, some answers of one prompt at a time."""
    if answers is not None and answers < group:
        for p in range(start, stop):
            for first in range(p * group, (p + 1) * group, answers):
                yield Piece(p, p + 1, slice(first, min(first + answers, (p + 1) * group)))
        return
    size = micro or stop - start
    for p in range(start, stop, size):
        end = min(p + size, stop)
        yield Piece(p, end, slice(p * group, end * group))
