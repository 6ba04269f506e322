"""Callbacks that break something in a run while it goes on."""

import os
import signal
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer


class KillService(Callback):
    """Kills the process that W&B sends from, behind the first step."""

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        for process in children("wandb-core") if batch_idx == 0 else ():
            os.kill(process, signal.SIGKILL)


def children(name: str) -> list[int]:
    """Processes of this name that this one started."""
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        process, _, rest = file.read_text().partition(" (")
        command, _, fields = rest.rpartition(") ")
        if command == name and int(fields.split()[1]) == os.getpid():
            found.append(int(process))
    return found


class OutOfMemory(Callback):
    """The student's first layer runs out of memory `times` times, in calls number `calls` and
    later of step `step`. learning: only calls with gradient count. backward: on the way back."""

    def __init__(self, *, step: int, call: int, times: int, learning: bool, backward: bool) -> None:
        self.step, self.call, self.times = step, call, times
        self.learning, self.backward = learning, backward
        self.seen = 0

    def on_fit_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.module: Any = module
        layer = self.module.student.backbone.get_decoder().layers[0]
        if self.backward:
            layer.mlp.register_full_backward_pre_hook(self.count)
        else:
            layer.register_forward_pre_hook(self.count)

    def count(self, *_: Any) -> None:
        at_work = self.module.trainer.training and self.module.step == self.step
        if not at_work or (self.learning and not (self.backward or torch.is_grad_enabled())):
            return
        self.seen += 1
        if self.call <= self.seen < self.call + self.times:
            raise torch.OutOfMemoryError("out of memory")


class NotFinite(Callback):
    """The teacher's head is NaN in the steps from `first` on, for so many of them."""

    def __init__(self, *, first: int, steps: int) -> None:
        self.bad = range(first, first + steps)

    def on_train_batch_start(
        self, trainer: Trainer, module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        head = module.teachers.source.policy.head.linear.weight
        if batch_idx == self.bad.start:
            self.known = head.detach().clone()
        if batch_idx in self.bad:
            head.data.fill_(torch.nan)
        elif batch_idx == self.bad.stop:
            head.data.copy_(self.known)
