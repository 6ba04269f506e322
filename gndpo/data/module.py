"""Batches of rows: one batch is one rollout step, and step s always holds the same rows."""

import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Protocol

from lightning import LightningDataModule
from torch.utils.data import DataLoader, IterableDataset

from gndpo.data.rows import Row
from gndpo.errors import UserError

log = logging.getLogger(__name__)


class Rows(Protocol):
    """Rows of one split, row i always the same. Rows that are not endless raise an IndexError
    behind the last."""

    endless: bool

    def __getitem__(self, index: int) -> Row: ...


class Steps(IterableDataset[list[Row]]):
    """The batches of steps start..steps-1."""

    def __init__(self, rows: Rows, prompts: int, start: int, steps: int) -> None:
        self.rows, self.prompts, self.start, self.steps = rows, prompts, start, steps

    def __len__(self) -> int:
        return max(0, self.steps - self.start)

    def __iter__(self) -> Iterator[list[Row]]:
        for step in range(self.start, self.steps):
            yield [self.rows[step * self.prompts + i] for i in range(self.prompts)]


class PromptData(LightningDataModule):
    """Rows for training and evaluation.

    rows: (split, seed) -> rows of that split. prompts: P, rows of a step.
    max_prompt_tokens, overlong: what `make_prompts` does with long prompts.
    start_step: first step of the next loader; set it to resume.
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
    ) -> None:
        super().__init__()
        if prompts < 1:
            raise UserError(f"data.prompts={prompts}: a step needs at least one prompt")
        if overlong not in ("refuse", "drop"):
            raise UserError(f"data.overlong={overlong} is unknown; choose refuse or drop")
        self.rows, self.prompts, self.steps, self.seed = rows, prompts, steps, seed
        self.evaluation_seed = evaluation_seed
        self.max_prompt_tokens, self.overlong = max_prompt_tokens, overlong
        self.start_step = 0

    def train_dataloader(self) -> DataLoader[list[Row]]:
        steps = Steps(self.rows("train", self.seed), self.prompts, self.start_step, self.steps)
        return DataLoader(steps, batch_size=None)

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
