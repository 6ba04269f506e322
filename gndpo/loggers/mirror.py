"""Loggers show what the run folder holds: rows are read from its files, so that a continued run
is shown whole, without gaps and without rows that were computed twice."""

import json
import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import Logger

from gndpo.module import Distillation
from gndpo.runfolder import RunFolder

log = logging.getLogger(__name__)

Row = dict[str, Any]

EVALUATION = ("step", "model", "split", "n", "k")
"""What says of a row of eval.jsonl which evaluation it is."""


@runtime_checkable
class Shows(Protocol):
    """A logger that takes more than numbers."""

    def log_samples(self, samples: Sequence[Row], step: int) -> None: ...

    def log_figures(self, figures: Mapping[str, Any], step: int) -> None: ...


class Tail:
    """The rows that were appended to a JSONL file since the last look."""

    def __init__(self, file: Path) -> None:
        self.file, self.position = file, 0

    def rows(self) -> list[Row]:
        if not self.file.exists():
            return []
        with self.file.open("rb") as file:
            file.seek(self.position)
            lines = file.readlines()
            self.position = file.tell()
        return [json.loads(line) for line in lines]


class Mirror(Callback):
    """Sends what is new in metrics.jsonl, eval.jsonl and samples.jsonl, a row per step."""

    def __init__(self, folder: RunFolder) -> None:
        names = ("metrics", "eval", "samples")
        self.metrics, self.evaluations, self.samples = (
            Tail(folder.path / f"{name}.jsonl") for name in names
        )

    def on_fit_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Before the first step: its evaluation, or everything that is there already."""
        self.send(trainer, module)

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.send(trainer, module)

    def send(self, trainer: Trainer, module: LightningModule) -> None:
        assert isinstance(module, Distillation)
        numbers = by_step(self.metrics.rows(), self.evaluations.rows())
        shown = pictured(self.samples.rows())
        for logger in list(trainer.loggers):
            with switched_off(trainer, logger):
                for step in sorted(numbers):
                    logger.log_metrics(numbers[step], step=step)
                    if isinstance(logger, Shows) and step in shown:
                        logger.log_samples([spelled(row, module) for row in shown[step]], step)

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Figures of the whole run, where somebody shows them."""
        assert isinstance(module, Distillation)
        showing = [logger for logger in trainer.loggers if isinstance(logger, Shows)]
        if showing:
            from gndpo.loggers.figures import draw  # matplotlib takes a second to import

            figures = draw(Tail(self.metrics.file).rows())
            for logger in showing:
                with switched_off(trainer, logger):
                    logger.log_figures(figures, module.step)


@contextmanager
def switched_off(trainer: Trainer, logger: Logger) -> Iterator[None]:
    """Whatever a logger raises within, the run goes on without it: nothing is lost, because the
    run folder has all rows."""
    try:
        yield
    except Exception as error:
        log.warning(
            "%s failed (%s: %s) and is switched off; the run goes on, its folder has every row; "
            "docs/faults.md says how to send them later",
            *(type(logger).__name__, type(error).__name__, str(error).partition("\n")[0]),
        )
        trainer.loggers = [other for other in trainer.loggers if other is not logger]
        with suppress(Exception):
            logger.finalize("failed")


def by_step(metrics: Sequence[Row], evaluations: Sequence[Row]) -> dict[int, Row]:
    """One row per step, without what was not finite. eval/acc_1 of the student on a split is
    eval/acc_1/<split>, that of the teacher eval/acc_1/teacher."""
    numbers: dict[int, Row] = defaultdict(dict)
    for row in metrics:
        known = {name: x for name, x in row.items() if name != "step" and x is not None}
        numbers[row["step"]] |= known
    for row in evaluations:
        which = row["split"] if row["model"] == "student" else row["model"]
        measures = {f"{name}/{which}": x for name, x in row.items() if name not in EVALUATION}
        numbers[row["step"]] |= measures
    return numbers


def spelled(sample: Row, module: Distillation) -> Row:
    """With the answer as text."""
    ids = sample["tokens"]["id"]
    text = module.processor.tokenizer.decode(ids, skip_special_tokens=True)
    return {**sample, "answer": text}


def pictured(samples: Sequence[Row]) -> dict[int, list[Row]]:
    """The samples of the steps whose images were kept."""
    found: dict[int, list[Row]] = defaultdict(list)
    for row in samples:
        if "images" in row:
            found[row["step"]].append(row)
    return found
