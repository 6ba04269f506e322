"""The LightningModule: one step, read from top to bottom, is prompts, rollout, scores, strategy,
loss, gradients, logs."""

import functools
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn

from gndpo import checkpoints
from gndpo.clock import Clock
from gndpo.data.rows import Row
from gndpo.diagnostics import vocabulary_metrics
from gndpo.encodings import Encodings, remembering
from gndpo.evaluation import grade
from gndpo.loss import Surrogate
from gndpo.metrics import rollout_metrics, score_metrics, signal_metrics
from gndpo.models.masters import Masters
from gndpo.models.parts import trained
from gndpo.models.processor import Processor
from gndpo.policy import Policy
from gndpo.prompts import Prompts, make_prompts
from gndpo.reads import dry_run
from gndpo.rewards import Grade, Reward
from gndpo.rng import uniform
from gndpo.rollout import Answers
from gndpo.samples import samples
from gndpo.scores import Scores
from gndpo.scoring import score
from gndpo.settings import Settings
from gndpo.signal import Strategy
from gndpo.sources import Source
from gndpo.teachers import Teachers, sources
from gndpo.update import Batch, update
from gndpo.writers import Desk, Writer


class Distillation(LightningModule):
    """Student and teachers, and the step in which the one learns from the others."""

    def __init__(
        self,
        student: Policy,
        teachers: Teachers,
        processor: Processor,
        strategy: Strategy,
        surrogate: Surrogate,
        writer: Writer,
        reward: Grade,
        make_optimizer: Any,
        settings: Settings,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.student, self.teachers, self.processor = student, teachers, processor
        self.strategy, self.surrogate = strategy, surrogate
        self.writer, self.reward = writer, reward
        self.make_optimizer, self.settings = make_optimizer, settings
        self.reads = dry_run(strategy, student.vocabulary.size)
        self.step = 0
        self.updates = 0
        self.sources = sources(Source.of(student, settings.rendering), teachers.source)
        self.carry: Mapping[str, Tensor] = {}
        self.continued: Path | None = None

    def continue_from(self, checkpoint: Path) -> None:
        """Weights, counters and carry now; the optimizer's state once there is an optimizer."""
        checkpoints.load_weights(checkpoint, trained(self.student.model))
        if self.teachers.moving is not None:
            checkpoints.load_weights(checkpoint, self.following(), "teacher")
        state, self.carry = checkpoints.load_state(checkpoint)
        self.step, self.updates = state["step"], state["updates"]
        self.continued = checkpoint

    def configure_optimizers(self) -> torch.optim.Optimizer:
        model = self.student.model
        optimizer: torch.optim.Optimizer = self.make_optimizer(trained(model).values())
        self.masters = Masters(model)
        self.masters.serve(optimizer)
        if self.continued is not None:
            checkpoints.load_weights(self.continued, self.masters.of)
            checkpoints.load_optimizer(self.continued, model, optimizer)
        return optimizer

    def following(self) -> dict[str, nn.Parameter]:
        """The weights of a teacher that moves with the student; {} where none does."""
        if self.teachers.moving is None:
            return {}
        names = trained(self.student.model)
        return {name: p for name, p in self.teachers.moving.named_parameters() if name in names}

    def save(self, folder: Path) -> Path:
        """A checkpoint of this step."""
        return checkpoints.save(
            folder,
            self.step,
            self.masters.exact(),
            checkpoints.optimizer_tensors(self.student.model, self.trainer.optimizers[0]),
            self.carry,
            {"updates": self.updates},
            self.following(),
        )

    def training_step(self, coming: Callable[[], Prompts], batch_idx: int) -> dict[str, Any]:
        clock = Clock()
        prompts = coming()
        clock.lap("prompts")
        with self.remembering(prompts):
            return self.learn(prompts, clock)

    def learn(self, prompts: Prompts, clock: Clock) -> dict[str, Any]:
        answers = self.roll(prompts)
        clock.lap("rollout")
        rewards = grade(answers, prompts, self.processor, self.reward)
        scores = self.score(prompts, answers, rewards)
        signal = self.strategy(scores)
        self.carry = {name: x.detach() for name, x in signal.carry.items()}
        clock.lap("score")
        diagnosis = self.diagnose(prompts, answers)
        clock.lap("diagnose")
        lr = self.set_learning_rate()
        batch = Batch(
            prompts, scores, signal, self.settings.aggregation, self.surrogate, self.manual_backward
        )
        gradients = self.update(batch)
        self.updates += int(gradients.pop("train/updates"))
        clock.lap("update")
        count, pictured = self.settings.samples_per_step, bool(diagnosis)
        shown = samples(self.processor, prompts, answers, scores, signal, rewards, count, pictured)
        self.step += 1
        self.teachers.update(self.student, self.step)
        metrics = {
            **gradients,
            "train/lr": lr,
            "train/updates": self.updates,
            **score_metrics(scores),
            **signal_metrics(scores, signal),
            **diagnosis,
            **rollout_metrics(answers, rewards, prompts.dropped),
            **clock.metrics(int(answers.length_B.sum())),
        }
        return {"metrics": metrics, "samples": shown}

    def read(self, rows: Sequence[Row]) -> Prompts:
        """The prompts of a step, in all renderings that its views read."""
        s = self.settings
        prompts = make_prompts(
            rows,
            self.processor,
            max_tokens=s.max_prompt_tokens,
            overlong=s.overlong,
            device=self.device,
            context=self.teachers.context,
            degrade=self.teachers.degrade,
        )
        for view in self.reads.requests:
            prompts.renderings[self.sources[view].rendering]  # made when it is first asked for
        return prompts

    def remembering(self, prompts: Prompts) -> AbstractContextManager[None]:
        """What was read of the prompts serves again; with gradients where one backward takes it."""
        s = self.settings
        whole = s.reuse.prompts and s.in_one_piece
        apart = s.diagnoses(self.step) or self.student.model.is_activation_checkpointing
        learns = whole and not apart
        trained = {self.sources[name].rendering for name in self.reads.trained if learns}
        kept = functools.partial(Encodings, prompts=prompts, whole=whole, images=s.reuse.images)
        teachers = map(kept, self.teachers.of.values())
        return remembering(kept(self.student, trained=trained), teachers)

    def roll(self, prompts: Prompts) -> Answers:
        """G answers per prompt; draws depend on (seed, step, answer) alone."""
        s = self.settings
        self.student.eval()
        desk = Desk(
            prompts=prompts,
            student=self.sources["student"],
            teacher=self.sources["teacher"],
            processor=self.processor,
            group=s.group,
            max_tokens=s.max_tokens,
            draws=self.draws,
            step=self.step,
            steps=s.steps,
            fixed=self.teachers.fixed,
            micro=s.micro,
            answers=s.answers,
            speed=s.speed,
            keep_hidden=s.reuse.states and self.student.model.dtype.itemsize >= 4,
        )
        return self.writer(desk)

    def draws(self, stream: str, rows: int, columns: int) -> Tensor:
        """This step's uniforms of a stream, [rows, columns]."""
        numbers = uniform(self.settings.seed, stream, self.step, range(rows), columns)
        return torch.from_numpy(numbers).to(self.device)

    def score(self, prompts: Prompts, answers: Answers, rewards: Sequence[Reward]) -> Scores:
        s = self.settings
        views = score(self.sources, prompts, answers, self.reads, s.update.portion)
        B, T = answers.ids_BT.shape
        return Scores(
            ids_BT=answers.ids_BT,
            mask_BT=answers.mask_BT,
            views=views,
            author_BT=answers.author_BT,
            behaviour_logp_BT=answers.logp_BT,
            uniform_BT=self.draws("gates", B, T).to(answers.logp_BT.dtype),
            group_B=torch.arange(B, device=self.device) // s.group,
            reward_B=torch.tensor([r.total for r in rewards], device=self.device),
            step=self.step,
            steps=s.steps,
            carry=self.carry,
            eos=self.student.vocabulary.eos,
        )

    def diagnose(self, prompts: Prompts, answers: Answers) -> dict[str, float]:
        if not self.settings.diagnoses(self.step):
            return {}
        count, portion = self.settings.diagnose_prompts, self.settings.update.portion
        return vocabulary_metrics(self.sources, prompts, answers, count, portion)

    def update(self, batch: Batch) -> dict[str, float]:
        optimizer = self.optimizers()
        assert isinstance(optimizer, LightningOptimizer)
        self.student.train()
        metrics = update(
            self.sources,
            self.reads.trained,
            batch,
            optimizer,
            self.settings.update,
            halves=self.settings.diagnoses(self.step),
        )
        self.student.eval()
        return metrics

    def set_learning_rate(self) -> float:
        """The schedule's learning rate for this step, in every parameter group."""
        s = self.settings
        scale = s.schedule.factor(self.step, s.steps)
        groups = self.trainer.optimizers[0].param_groups
        for group in groups:
            group["lr"] = group.setdefault("initial_lr", group["lr"]) * scale
        return float(groups[0]["lr"])
