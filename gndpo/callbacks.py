"""What happens around a step: logs, evaluation, checkpoints. In this order, so that a checkpoint
covers its rows."""

import logging
import math
import os
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer

from gndpo import checkpoints, preemption, ranks
from gndpo.data.rows import Row
from gndpo.engines.teacher_checks import check_reads, check_served
from gndpo.evaluation import evaluate
from gndpo.guard import as_json, skips_of
from gndpo.memory.prediction import Memory, patches_of, predict
from gndpo.memory.retry import evaluating
from gndpo.memory.sizes import Sizes
from gndpo.module import Distillation
from gndpo.prompts import Prompts, make_prompts
from gndpo.runfolder import RunFolder, read_rows
from gndpo.sharding import gathered, is_split
from gndpo.sources import Source
from gndpo.startup import check_start
from gndpo.sweeps import PARALLEL

log = logging.getLogger(__name__)

FILE = "eval.jsonl"
"""The rows of evaluations."""


class StartUp(Callback):
    """Checks on a few rows once the models are where they will work, and the predicted peak
    memory. prompts: of a step."""

    def __init__(self, folder: RunFolder, rows: Sequence[Row], prompts: int) -> None:
        self.folder, self.rows, self.prompts = folder, rows, prompts

    def on_fit_start(self, trainer: Trainer, module: LightningModule) -> None:
        assert isinstance(module, Distillation)
        prompts = make_prompts(
            self.rows, module.processor, device=module.device, context=module.teachers.context
        )
        teacher, limits = module.teachers.source, module.settings
        strategy = ranks.from_first(lambda: self.folder.status()["strategy"])
        check_reads(module.reads, module.sources, strategy)
        check_start(prompts, module.student, teacher, module.processor)
        longest = limits.max_prompt_tokens + limits.max_tokens + 1
        self.folder.write_status(**check_served(teacher, module.student, prompts, longest))
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
    """Every step's metrics and samples into the run folder; too many skipped updates in a row end
    the run."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder

    def on_fit_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.skips = skips_of(read_rows(self.folder.path / "metrics.jsonl"))

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(module, Distillation)
        row = {"step": module.step, **outputs["metrics"]}
        self.folder.append("metrics.jsonl", as_json(row))
        for sample in outputs["samples"]:
            self.folder.append("samples.jsonl", as_json({"step": module.step, **sample}))
        self.skips = self.skips.after(row)
        self.skips.check(row, module.settings.update.max_skipped)


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

    def on_fit_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Before the first step; later, what a stop cut off."""
        assert isinstance(module, Distillation)
        self.catch_up(trainer, module)

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(module, Distillation)
        self.catch_up(trainer, module)

    def catch_up(self, trainer: Trainer, module: Distillation) -> None:
        """What is due at this step and not there yet."""
        every = ranks.from_first(lambda: list(read_rows(self.folder.path / FILE)))
        rows = [row for row in every if row["step"] == module.step]
        there = {(row["split"], row["model"]) for row in rows}
        for split, model in self.due(module.step, module.settings.steps):
            if (split, model) not in there:
                self.run(trainer, module, split, teacher=model == "teacher")

    def due(self, step: int, steps: int) -> list[tuple[str, str]]:
        """(split, model) of the evaluations at a step."""
        first, last = step == 0, step == steps
        found = []
        if first or last or (self.every > 0 and step % self.every == 0):
            found.append(("validation", "student"))
        if first or last:
            found.append(("test", "student"))
        if first:
            found.append(("test", "teacher"))
        return found

    def run(
        self, trainer: Trainer, module: Distillation, split: str, *, teacher: bool = False
    ) -> None:
        elsewhere = module.teachers.servers or any(map(is_split, module.teachers.of.values()))
        if teacher and elsewhere:
            log.info("the teacher is nowhere whole here: it is not evaluated")
            return
        reader = module.teachers.source if teacher else Source.of(module.student)
        context = module.teachers.context if teacher else None
        rows = self.rows[split]
        with gathered(module.student), evaluating(self.options["batch"]):
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
        self.folder.append(FILE, {**label, "n": len(rows), "k": self.options["k"], **numbers})


class Checkpoints(Callback):
    """Every `every` steps, at the end, before a pre-emption, and where `best`, a measure of the
    student on validation rows, is the highest so far (null: not looked at). The last `keep` are
    kept, and the best."""

    def __init__(self, folder: RunFolder, *, every: int, keep: int, best: str | None) -> None:
        self.folder, self.every, self.keep, self.measure = folder, every, keep, best
        self.saved = math.inf  # nothing to save before the fit

    def on_fit_start(self, trainer: Trainer, module: LightningModule) -> None:
        assert isinstance(module, Distillation)
        self.saved = module.step
        self.best()  # a measure that is none is refused now

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(module, Distillation)
        due = self.every > 0 and module.step % self.every == 0
        if due or module.step == module.settings.steps or module.step == self.best():
            with preemption.waiting(True):
                self.save(module)

    def on_exception(
        self, trainer: Trainer, module: LightningModule, exception: BaseException
    ) -> None:
        assert isinstance(module, Distillation)
        if isinstance(exception, preemption.Preempted) and module.step > self.saved:
            self.save(module)

    def best(self) -> int | None:
        """The best step so far."""
        if self.measure is None:
            return None
        rows = read_rows(self.folder.path / FILE)
        return ranks.from_first(partial(checkpoints.best_step, rows, self.measure))

    def save(self, module: Distillation) -> None:
        self.folder.sync()
        module.save(self.folder.checkpoints)
        self.saved, best = module.step, self.best()
        if ranks.rank() == 0:
            checkpoints.prune(self.folder.checkpoints, module.step, self.keep, best)
        self.folder.write_status(step=module.step, best=best)
