"""What happens around a step: logs, evaluation, checkpoints. In this order, so that a checkpoint
covers its rows."""

import logging
import os
from collections.abc import Sequence
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer

from gndpo import checkpoints
from gndpo.data.rows import Row
from gndpo.evaluation import evaluate
from gndpo.memory.prediction import Memory, patches_of, predict
from gndpo.memory.sizes import Sizes
from gndpo.module import Distillation
from gndpo.prompts import Prompts, make_prompts
from gndpo.runfolder import RunFolder
from gndpo.sources import Source
from gndpo.startup import check_start
from gndpo.sweeps import PARALLEL

log = logging.getLogger(__name__)


class StartUp(Callback):
    """Checks on a few rows once the models are where they will work, and the predicted peak
    memory. prompts: of a step."""

    def __init__(self, folder: RunFolder, rows: Sequence[Row], prompts: int) -> None:
        self.folder, self.rows, self.prompts = folder, rows, prompts

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        assert isinstance(module, Distillation)
        prompts = make_prompts(
            self.rows, module.processor, device=module.device, context=module.teachers.context
        )
        check_start(prompts, module.student, module.teachers.source, module.processor)
        memory = self.predict(trainer, module, prompts)
        self.folder.write_status(predicted_peak_bytes=memory.peak)
        if PARALLEL not in os.environ:
            log.info("%s", memory)

    def predict(self, trainer: Trainer, module: Distillation, first: Prompts) -> Memory:
        """With prompts as long as they may be, and images as the first ones have them."""
        student = module.student.model
        sizes = Sizes.of(
            module.settings,
            module.reads,
            trainer.optimizers[0],
            prompts=self.prompts,
            patches=patches_of(student, first.renderings["image"]),
            checkpointing=student.is_activation_checkpointing,
        )
        models = [policy.model for policy in module.teachers.of.values()]
        there = None
        if module.device.type == "cuda":
            there = torch.cuda.get_device_properties(module.device).total_memory
        return predict(student, models, sizes, device=there)


class RunLog(Callback):
    """Every step's metrics and samples into the run folder."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(module, Distillation)
        self.folder.append("metrics.jsonl", {"step": module.step, **outputs["metrics"]})
        for sample in outputs["samples"]:
            self.folder.append("samples.jsonl", {"step": module.step, **sample})


class Evaluation(Callback):
    """Validation rows on a schedule; test rows before the first step (student and teacher) and
    after the last (student)."""

    def __init__(
        self,
        folder: RunFolder,
        rows: dict[str, list[Row]],
        *,
        every: int,
        k: int,
        max_tokens: int,
        seed: int,
        batch: int,
    ) -> None:
        self.folder, self.rows, self.every = folder, rows, every
        self.options = {"k": k, "max_tokens": max_tokens, "seed": seed, "batch": batch}

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        assert isinstance(module, Distillation)
        if module.step == 0:
            self.run(trainer, module, "validation")
            self.run(trainer, module, "test")
            self.run(trainer, module, "test", teacher=True)

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(module, Distillation)
        last = module.step == module.settings.steps
        if last or (self.every > 0 and module.step % self.every == 0):
            self.run(trainer, module, "validation")
        if last:
            self.run(trainer, module, "test")

    def run(
        self, trainer: Trainer, module: Distillation, split: str, *, teacher: bool = False
    ) -> None:
        reader = module.teachers.source if teacher else Source.of(module.student)
        context = module.teachers.context if teacher else None
        rows = self.rows[split]
        numbers = evaluate(
            reader,
            module.processor,
            rows,
            module.reward,
            device=module.device,
            context=context,
            speed=module.settings.speed,
            **self.options,
        )
        label = {"step": module.step, "model": "teacher" if teacher else "student", "split": split}
        self.folder.append(
            "eval.jsonl", {**label, "n": len(rows), "k": self.options["k"], **numbers}
        )


class Checkpoints(Callback):
    """Every `every` steps and at the end, the last `keep` kept."""

    def __init__(self, folder: RunFolder, *, every: int, keep: int) -> None:
        self.folder, self.every, self.keep = folder, every, keep

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(module, Distillation)
        if module.step == module.settings.steps or (
            self.every > 0 and module.step % self.every == 0
        ):
            module.save(self.folder.checkpoints)
            checkpoints.prune(self.folder.checkpoints, self.keep)
            self.folder.write_status(step=module.step)
