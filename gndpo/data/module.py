"""Batches of rows: one batch is one rollout step, and step s always holds the same rows."""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, Protocol

from lightning import LightningDataModule
from torch.utils.data import DataLoader, IterableDataset

from gndpo.data.rows import Row
from gndpo.errors import UserError

log = logging.getLogger(__name__)

Coming = Callable[[], Any]
"""Gives a batch; it is ready by then, if a thread was ahead."""


class Rows(Protocol):
    """Rows of one split, row i always the same. Rows that are not endless raise an IndexError
    behind the last."""

    endless: bool

    def __getitem__(self, index: int) -> Row: ...


class Steps(IterableDataset[Coming]):
    """The batches of some steps, each as a call. ahead: batches that a thread makes before their
    call; 0: a call makes its own."""

    def __init__(self, batch: Callable[[int], Any], steps: range, ahead: int) -> None:
        self.batch, self.steps, self.ahead = batch, steps, ahead

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[Coming]:
        calls = (partial(self.batch, step) for step in self.steps)
        return early(calls, self.ahead) if self.ahead else calls


def early(calls: Iterable[Coming], ahead: int) -> Iterator[Coming]:
    """The same calls, each begun by a thread once the one `ahead` places before it is handed out.
    One thread, so that they come in order; errors come with the call. It ends with the iterator."""
    pool = ThreadPoolExecutor(1, "prompts")
    begun: deque[Future[Any]] = deque()
    try:
        for call in calls:
            begun.append(pool.submit(call))
            if len(begun) > ahead:
                yield begun.popleft().result
        while begun:
            yield begun.popleft().result
    finally:
        pool.shutdown(cancel_futures=True)


def fetched(rows: Rows, index: int) -> Row:
    """A row; data that vanished or broke since the start are one sentence."""
    try:
        return rows[index]
    except (OSError, EOFError, LookupError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"row {index} cannot be read ({type(error).__name__}: {reason}); mend the data, then "
            "ckpt=last continues the run"
        ) from error


class PromptData(LightningDataModule):
    """Rows for training and evaluation.

    rows: (split, seed) -> rows of that split. prompts: P, rows of a step.
    max_prompt_tokens, overlong: what `make_prompts` does with long prompts.
    ahead: steps whose prompts a thread prepares while the model works; 0: none.
    places: which of a step's prompts are made here, by one rank of several.
    start_step: first step of the next loader; set it to resume. prepare: what a step takes, made
    of its rows.
    Evaluation rows do not depend on the run's seed: all runs of a sweep answer the same questions.
    """

    def __init__(
        self,
        rows: Callable[[str, int], Rows],
        *,
        prompts: int,
        steps: int,
        seed: int,
        evaluation_seed: int,
        max_prompt_tokens: int,
        overlong: str,
        ahead: int,
    ) -> None:
        super().__init__()
        if prompts < 1:
            raise UserError(f"data.prompts={prompts}: a step needs at least one prompt")
        if overlong not in ("refuse", "drop"):
            raise UserError(f"data.overlong={overlong} is unknown; choose refuse or drop")
        self.rows, self.prompts, self.steps, self.seed = rows, prompts, steps, seed
        self.evaluation_seed = evaluation_seed
        self.max_prompt_tokens, self.overlong = max_prompt_tokens, overlong
        self.ahead = ahead
        self.places: Sequence[int] = range(prompts)
        self.start_step = 0
        self.prepare: Callable[[list[Row]], Any] = list

    def train_dataloader(self) -> DataLoader[Coming]:
        rows = self.rows("train", self.seed)

        def batch(step: int) -> Any:
            first = step * self.prompts
            try:
                return self.prepare([fetched(rows, first + i) for i in self.places])
            except UserError as error:
                raise UserError(f"the prompts of step {step + 1}: {error}") from error

        steps = range(self.start_step, self.steps)
        return DataLoader(Steps(batch, steps, self.ahead), batch_size=None)

    def evaluation_rows(self, split: str, n: int | None) -> list[Row]:
        """The first n rows, or all where there are fewer; null: all."""
        rows = self.rows(split, self.evaluation_seed)
        if n is None and rows.endless:
            raise UserError(
                f"all rows of {split} were asked for (null), but there is no end of them; give a "
                f"number, for example eval.{split}=256"
            )
        found: list[Row] = []
        with suppress(IndexError):
            while n is None or len(found) < n:
                found.append(rows[len(found)])
        if n is not None and len(found) < n:
            log.info("%d rows of %s were asked for, there are %d", n, split, len(found))
        return found
