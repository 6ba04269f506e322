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

from gndpo import checkpoints, ranks
from gndpo.clock import Clock
from gndpo.data.rows import Row
from gndpo.diagnostics import vocabulary_metrics
from gndpo.encodings import Encodings, remembering
from gndpo.evaluation import grade
from gndpo.gradients import scaled_rate
from gndpo.guard import kept
from gndpo.loss import Surrogate
from gndpo.memory.retry import fitting
from gndpo.metrics import rollout_metrics, score_metrics, signal_metrics
from gndpo.models.masters import Masters
from gndpo.models.parts import trained
from gndpo.models.processor import Processor
from gndpo.policy import Policy
from gndpo.prompts import Prompts
from gndpo.reads import dry_run
from gndpo.rewards import Grade, Reward
from gndpo.rng import uniform
from gndpo.rollout import Answers
from gndpo.samples import samples
from gndpo.scores import Scores
from gndpo.scoring import score
from gndpo.settings import Settings
from gndpo.sharding import Sharded, by_kind, gathered, whole
from gndpo.shares import Share, shared
from gndpo.signal import Strategy
from gndpo.sources import Source
from gndpo.surrogates import corrected
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

    def configure_model(self) -> None:
        strategy = self.trainer.strategy
        if isinstance(strategy, Sharded):
            strategy.shard(self.student, self.teachers)
            self.settings = self.settings.shared

    def configure_optimizers(self) -> torch.optim.Optimizer:
        model = self.student.model
        optimizer: torch.optim.Optimizer = self.make_optimizer(by_kind(trained(model).values()))
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
        """A checkpoint of this step; shards are put together by all ranks, the first writes."""
        optimizer = checkpoints.optimizer_tensors(self.student.model, self.trainer.optimizers[0])
        weights, moments = whole(self.masters.exact()), whole(optimizer)
        teacher, state = whole(self.following()), {"updates": self.updates}
        save = functools.partial(checkpoints.save, folder, self.step, weights, moments)
        return ranks.from_first(lambda: save(self.carry, state, teacher))

    def training_step(self, coming: Callable[[], Share], batch_idx: int) -> dict[str, Any]:
        clock = Clock()
        share = coming()
        clock.lap("prompts")
        with self.remembering(share.prompts):
            return self.learn(share, clock)

    def learn(self, share: Share, clock: Clock) -> dict[str, Any]:
        prompts, s = share.prompts, self.settings
        fit = functools.partial(fitting, views=self.sources, prompts=len(prompts), group=s.group)
        answers = fit("rollout", s, lambda: self.roll(share))
        clock.lap("rollout")
        rewards = grade(answers, prompts, self.processor, self.reward)
        scores = fit("updates", s.update, lambda: self.score(share, answers, rewards))
        signal = self.strategy(scores)
        self.carry = kept(self.carry, signal.carry)
        clock.lap("score")
        diagnosis = fit("updates", s.update, lambda: self.diagnose(share, answers))
        clock.lap("diagnose")
        lr = scaled_rate(self.trainer.optimizers[0], s.schedule.factor(self.step, s.steps))
        taught = corrected(signal, scores, s.correction)
        batch = Batch(
            prompts, scores, taught, s.aggregation, self.surrogate, self.manual_backward, s.prompts
        )
        gradients = self.update(batch)
        self.updates += int(gradients.pop("train/updates"))
        clock.lap("update")
        count, pictured = s.samples_per_step, bool(diagnosis)
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
            **rollout_metrics(answers, rewards, prompts.dropped, scores.row_B),
            **clock.metrics(int(ranks.total(answers.length_B.sum()))),
        }
        return {"metrics": metrics, "samples": shown}

    def read(self, rows: Sequence[Row]) -> Share:
        """This rank's prompts of a step, in all renderings that its views read."""
        share = shared(rows, self.settings, self.teachers, self.processor, self.device)
        for view in self.reads.requests:  # made when it is first asked for
            share.prompts.renderings[self.sources[view].rendering]
        return share

    def remembering(self, prompts: Prompts) -> AbstractContextManager[None]:
        """What was read of the prompts serves again; with gradients where one backward takes it."""
        s = self.settings
        whole = s.reuse.prompts and s.in_one_piece and not s.update.shared
        apart = s.diagnoses(self.step) or self.student.model.is_activation_checkpointing
        learns = whole and not apart
        trained = {self.sources[name].rendering for name in self.reads.trained if learns}
        kept = functools.partial(Encodings, prompts=prompts, whole=whole, images=s.reuse.images)
        teachers = map(kept, self.teachers.of.values())
        return remembering(kept(self.student, trained=trained), teachers)

    def roll(self, share: Share) -> Answers:
        """G answers per prompt; draws depend on (seed, step, answer) alone."""
        s = self.settings
        self.student.eval()
        desk = Desk(
            prompts=share.prompts,
            student=self.sources["student"],
            teacher=self.sources["teacher"],
            processor=self.processor,
            group=s.group,
            max_tokens=s.max_tokens,
            place_P=share.place_P,
            draws=self.draws,
            step=self.step,
            steps=s.steps,
            fixed=self.teachers.fixed,
            micro=s.micro,
            answers=s.answers,
            speed=s.speed,
            keep_hidden=s.reuse.states and self.student.model.dtype.itemsize >= 4,
        )
        with gathered(self.student):
            return self.writer(desk)

    def draws(self, stream: str, rows: Sequence[int], columns: int) -> Tensor:
        """This step's uniforms of a stream, [rows, columns]; a stand-in's are those of row 0."""
        numbered = [max(row, 0) for row in rows]
        numbers = uniform(self.settings.seed, stream, self.step, numbered, columns)
        return torch.from_numpy(numbers).to(self.device)

    def score(self, share: Share, answers: Answers, rewards: Sequence[Reward]) -> Scores:
        s = self.settings
        views = score(self.sources, share.prompts, answers, self.reads, s.update.portion)
        B, T = answers.ids_BT.shape
        rows = share.rows(s.group)
        return Scores(
            ids_BT=answers.ids_BT,
            mask_BT=answers.mask_BT,
            views=views,
            author_BT=answers.author_BT,
            behaviour_logp_BT=answers.logp_BT,
            uniform_BT=self.draws("gates", rows, T).to(answers.logp_BT.dtype),
            group_B=torch.arange(B, device=self.device) // s.group,
            reward_B=torch.tensor([r.total for r in rewards], device=self.device),
            step=self.step,
            steps=s.steps,
            carry=self.carry,
            eos=self.student.vocabulary.eos,
            row_B=torch.tensor(rows, device=self.device),
        )

    def diagnose(self, share: Share, answers: Answers) -> dict[str, float]:
        if not self.settings.diagnoses(self.step):
            return {}
        here = ranks.within(share.place_P, 0, self.settings.diagnose_prompts)
        portion = self.settings.update.portion
        return vocabulary_metrics(self.sources, share.prompts, answers, here, portion)

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
