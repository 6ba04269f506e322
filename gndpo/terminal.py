"""One live line on a terminal; plain lines in logs and CI."""

import logging
import os
import sys
from collections.abc import Mapping
from typing import Any

from lightning import Callback, LightningModule, Trainer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

from gndpo import ranks
from gndpo.module import Distillation
from gndpo.sweeps import PARALLEL

log = logging.getLogger(__name__)

MEMORY = 3600  # seconds of steps that the time left is estimated from; steps may take minutes


class Terminal(Callback):
    """Accuracy, KL to the teacher, gradient norm, speed and time left, after every step on a
    terminal; elsewhere as a line every `every` steps. A job beside others is silent: the sweep
    speaks for it."""

    def __init__(self, *, every: int) -> None:
        self.every = 0 if PARALLEL in os.environ or ranks.rank() > 0 else every
        self.live = self.every > 0 and is_terminal()
        one_line = Column(no_wrap=True)
        self.bar = Progress(
            MofNCompleteColumn(table_column=one_line),
            BarColumn(bar_width=None, table_column=Column(ratio=1)),
            TextColumn("{task.description}", table_column=one_line),
            TimeRemainingColumn(table_column=one_line),
            TextColumn("left", table_column=one_line),
            console=Console(stderr=True),
            disable=not self.live,
            expand=True,
            speed_estimate_period=MEMORY,
        )
        self.kl: float | None = None

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        assert isinstance(module, Distillation)
        self.bar.start()
        self.task = self.bar.add_task("", total=module.settings.steps, completed=module.step)

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(module, Distillation)
        metrics, steps = outputs["metrics"], module.settings.steps
        self.kl = metrics.get("teacher/kl", self.kl)
        text = line(metrics, self.kl)
        self.bar.update(self.task, completed=module.step, description=text)
        due = self.every > 0 and (module.step % self.every == 0 or module.step == steps)
        if due and not self.live:
            left = TimeRemainingColumn().render(self.bar.tasks[0])
            log.info("step %d of %d: %s  %s left", module.step, steps, text, left)

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        self.bar.stop()

    def on_exception(
        self, trainer: Trainer, module: LightningModule, exception: BaseException
    ) -> None:
        self.bar.stop()


def line(metrics: Mapping[str, float], kl: float | None) -> str:
    """The numbers that matter. kl: to the teacher, nats per token, as last measured."""
    parts = [
        f"accuracy {metrics['reward/accuracy']:.2f}",
        *([] if kl is None else [f"KL {kl:.3f}"]),
        f"grad {metrics['grad/norm']:.3g}",
        f"{metrics['time/tokens_per_s']:,.0f} tokens/s",
    ]
    return "  ".join(parts)


def is_terminal() -> bool:
    """Whether somebody watches who can see a line change in place."""
    dumb = os.environ.get("TERM", "dumb") == "dumb" or "CI" in os.environ
    return sys.stderr.isatty() and not dumb
