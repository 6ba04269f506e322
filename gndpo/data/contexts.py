"""Supervised rows in other contexts: how a student learns to use what a prompt tells it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from gndpo.data.module import Rows
from gndpo.data.rows import Row
from gndpo.data.templates import filled
from gndpo.errors import UserError
from gndpo.rng import generator


@dataclass(frozen=True)
class Context:
    """problem, solution: templates of a row's columns, what is asked and how it is answered.
    share: of the rows, in 0..1."""

    problem: str
    solution: str
    share: float

    def around(self, row: Row) -> Row:
        """The row, asked and answered in this context."""
        problem, solution = filled(self.problem, row), filled(self.solution, row)
        return {**row, "problem": problem, "solution": solution}


class InContext:
    """Rows of which every context gets its share; the rest stay as they are. Which, is a pure
    function of (seed, index)."""

    def __init__(self, rows: Rows, contexts: Sequence[Context], seed: int) -> None:
        shares = [context.share for context in contexts]
        if any(share < 0 for share in shares) or sum(shares) > 1:
            raise UserError(f"shares of contexts are {shares}; none below 0, together at most 1")
        self.rows, self.contexts, self.seed = rows, contexts, seed
        self.endless = rows.endless
        self.edges = list(accumulate(shares))

    def __getitem__(self, index: int) -> Row:
        draw = generator(self.seed, "contexts", row=index).random()
        for context, edge in zip(self.contexts, self.edges, strict=True):
            if draw < edge:
                return context.around(self.rows[index])
        return self.rows[index]
