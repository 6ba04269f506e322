"""A callback for runs in processes of their own (GNDPO_MODULES=tests.)."""

import os
import signal
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer


class Stop(Callback):
    """Sends its process a signal when step `step` begins, once: `marker` says that it did."""

    def __init__(self, *, step: int, marker: str, number: str) -> None:
        self.step, self.marker, self.signal = step, Path(marker), signal.Signals[number]

    def on_train_batch_start(
        self, trainer: Trainer, module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if module.step + 1 == self.step and not self.marker.exists():
            self.marker.touch()
            os.kill(os.getpid(), self.signal)
