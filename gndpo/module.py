"""The LightningModule: one step, read from top to bottom, is prompts, rollout, scores, strategy,
loss, gradients, logs."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor

from gndpo import checkpoints
from gndpo.data.rows import Row
from gndpo.diagnostics import vocabulary_metrics
from gndpo.evaluation import Grade, grade
from gndpo.loss import Surrogate
from gndpo.metrics import mean, score_metrics, signal_metrics
from gndpo.policy import Policy
from gndpo.prompts import Prompts, make_prompts
from gndpo.reads import dry_run
from gndpo.rewards import Reward
from gndpo.rng import uniform
from gndpo.rollout import Answers, generate
from gndpo.samples import samples
from gndpo.schedules import Schedule
from gndpo.scores import STUDENT, Scores
from gndpo.scoring import score, sources
from gndpo.signal import Strategy
from gndpo.update import Batch, UpdateSettings, update


@dataclass(frozen=True)
class Settings:
    """Everything a step needs to know besides its parts; the values live in conf/train.yaml."""

    seed: int
    steps: int
    group: int
    max_tokens: int
    max_prompt_tokens: int
    overlong: str
    aggregation: str
    schedule: Schedule
    diagnose_every: int
    diagnose_prompts: int
    samples_per_step: int
    update: UpdateSettings


class Distillation(LightningModule):
    """Student and teacher, and the step that teaches the one with the other."""

    def __init__(
        self,
        student: Policy,
        teacher: Policy,
        processor: Any,
        strategy: Strategy,
        surrogate: Surrogate,
        reward: Grade,
        make_optimizer: Any,
        settings: Settings,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.student, self.teacher = student, teacher.requires_grad_(False)
        self.processor, self.strategy, self.surrogate, self.reward = (
            processor,
            strategy,
            surrogate,
            reward,
        )
        self.make_optimizer, self.settings = make_optimizer, settings
        self.reads = dry_run(strategy, student.vocabulary.size)
        self.step = 0
        self.updates = 0
        self.carry: Mapping[str, Tensor] = {}
        self.continued: Path | None = None

    def continue_from(self, checkpoint: Path) -> None:
        """Weights, counters and carry now; the optimizer's state once there is an optimizer."""
        checkpoints.load_weights(checkpoint, self.student.model)
        state, self.carry = checkpoints.load_state(checkpoint)
        self.step, self.updates = state["step"], state["updates"]
        self.continued = checkpoint

    def configure_optimizers(self) -> torch.optim.Optimizer:
        optimizer: torch.optim.Optimizer = self.make_optimizer(self.student.parameters())
        if self.continued is not None:
            checkpoints.load_optimizer(self.continued, self.student.model, optimizer)
        return optimizer

    def training_step(self, rows: Sequence[Row], batch_idx: int) -> dict[str, Any]:
        clock = Clock()
        prompts = self.read(rows)
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
        shown = samples(
            self.processor,
            prompts,
            answers,
            scores,
            signal,
            rewards,
            self.settings.samples_per_step,
        )
        self.step += 1
        metrics = {
            **gradients,
            "train/lr": lr,
            "train/updates": self.updates,
            **score_metrics(scores),
            **signal_metrics(scores, signal),
            **diagnosis,
            **rollout_metrics(prompts, answers, rewards),
            **clock.metrics(int(answers.length_B.sum())),
        }
        return {"metrics": metrics, "samples": shown}

    def read(self, rows: Sequence[Row]) -> Prompts:
        limit, overlong = self.settings.max_prompt_tokens, self.settings.overlong
        return make_prompts(rows, self.processor, max_tokens=limit, overlong=overlong).to(
            self.device
        )

    def roll(self, prompts: Prompts) -> Answers:
        """G answers per prompt, the student in eval mode; draws depend on (seed, step, answer)
        alone."""
        s = self.settings
        self.student.eval()
        draws = uniform(s.seed, "tokens", self.step, range(len(prompts) * s.group), s.max_tokens)
        uniform_BT = torch.from_numpy(draws).to(self.device)
        return generate(
            self.student,
            prompts.renderings["image"],
            group=s.group,
            max_tokens=s.max_tokens,
            uniform_BT=uniform_BT,
        )

    def score(self, prompts: Prompts, answers: Answers, rewards: Sequence[Reward]) -> Scores:
        s = self.settings
        views = score(
            sources(self.student, self.teacher),
            prompts,
            answers,
            self.reads,
            micro=s.update.micro,
            chunk=s.update.chunk,
        )
        B, T = answers.ids_BT.shape
        gates = torch.from_numpy(uniform(s.seed, "gates", self.step, range(B), T))
        return Scores(
            ids_BT=answers.ids_BT,
            mask_BT=answers.mask_BT,
            views=views,
            author_BT=torch.full_like(answers.ids_BT, STUDENT),
            behaviour_logp_BT=answers.logp_BT,
            uniform_BT=gates.to(self.device, answers.logp_BT.dtype),
            group_B=torch.arange(B, device=self.device) // s.group,
            reward_B=torch.tensor([r.total for r in rewards], device=self.device),
            step=self.step,
            steps=s.steps,
            carry=self.carry,
        )

    def diagnose(self, prompts: Prompts, answers: Answers) -> dict[str, float]:
        if not self.on_schedule():
            return {}
        return vocabulary_metrics(
            self.student, self.teacher, prompts, answers, self.settings.diagnose_prompts
        )

    def update(self, batch: Batch) -> dict[str, float]:
        optimizer = self.optimizers()
        assert isinstance(optimizer, LightningOptimizer)
        views = sources(self.student, self.teacher)
        self.student.train()
        metrics = update(
            views,
            self.reads.trained,
            batch,
            optimizer,
            self.settings.update,
            halves=self.on_schedule(),
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

    def on_schedule(self) -> bool:
        """Every `diagnose_every` steps, and at the last one."""
        every, last = self.settings.diagnose_every, self.step + 1 == self.settings.steps
        return every > 0 and (self.step % every == 0 or last)


def rollout_metrics(
    prompts: Prompts, answers: Answers, rewards: Sequence[Reward]
) -> dict[str, float]:
    return {
        "rollout/length": mean(answers.length_B.tolist()),
        "rollout/truncated": mean(answers.truncated_B.tolist()),
        "rollout/dropped": float(prompts.dropped),
        "reward/total": mean([r.total for r in rewards]),
        "reward/accuracy": mean([r.correct for r in rewards]),
        "reward/format": mean([r.formatted for r in rewards]),
    }


class Clock:
    """Seconds per phase of a step."""

    def __init__(self) -> None:
        self.start = self.last = time.perf_counter()
        self.laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[f"time/{name}"], self.last = now - self.last, now

    def metrics(self, tokens: int) -> dict[str, float]:
        step = time.perf_counter() - self.start
        return {**self.laps, "time/step": step, "time/tokens_per_s": tokens / step}
