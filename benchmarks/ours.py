"""Our side of a case: the module of `gndpo-train` in a Lightning Trainer, one step per command.

python -m benchmarks.ours FOLDER CASE ADVANTAGE    # CASE: the JSON of a `Case`
"""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from lightning import Callback, LightningModule, Trainer
from omegaconf import DictConfig

from benchmarks.cases import Case
from benchmarks.meter import Meter, reserved_output
from gndpo.build import build, build_advantage, config_folder, resolve
from gndpo.checks import check_values
from gndpo.module import Distillation
from gndpo.policies import load_policies
from gndpo.policy import Policy
from gndpo.quiet import quiet
from gndpo.train import module_settings

LEARNING_RATE = 1e-5
ENDLESS = 10**6
"""Steps: a worker ends when its input does."""
PHASES = ("rollout", "score", "update")


def configuration(
    case: Case, folder: Path, advantage: str, steps: int, more: Sequence[str] = ()
) -> DictConfig:
    """`gndpo-train` as it comes, without what runs on a schedule. more: further overrides."""
    rows = "{train: train, validation: train, test: train}"
    overrides = [
        f"advantage={advantage}",
        "model=checkpoints",
        f"model.pair.student={folder / 'student'}",
        f"model.pair.teacher={folder / 'teacher'}",
        "data=local",
        f"data.rows.source={folder / 'rows.jsonl'}",
        f"data.rows.splits={rows}",
        "data.rows.cut_seed=null",
        "data.rows.shuffle=false",
        f"prompts={case.prompts}",
        f"rollout.group={case.group}",
        f"rollout.max_tokens={case.answer}",
        f"steps={steps}",
        "schedule.warmup=0",
        "schedule.decay=constant",
        f"optimizer.lr={LEARNING_RATE}",
        "diagnose.every=0",
        "logger=none",
        *more,
    ]
    with initialize_config_dir(config_folder(), version_base="1.3"):
        cfg = compose("train", overrides=overrides)
    resolve(cfg)
    check_values(cfg)
    return cfg


def make_module(cfg: DictConfig) -> Distillation:
    """As `gndpo.train.train` makes it, but no answer ends before T tokens."""
    student, teachers, processor = load_policies(cfg)
    for policy in (student, *teachers.of.values()):
        endless(policy)
    return Distillation(
        student,
        teachers,
        processor,
        build_advantage(cfg.advantage),
        build(cfg.surrogate.loss, "surrogate.loss"),
        build(cfg.rollout.writer, "rollout.writer"),
        build(cfg.reward, "reward"),
        build(cfg.optimizer, "optimizer"),
        module_settings(cfg),
    )


def endless(policy: Policy) -> None:
    """No id ends an answer; what ended one is a token like any other."""
    policy.write_only(replace(policy.vocabulary, eos=()))


class Steps(Callback):
    """Waits for a command before every step, and says what the step took."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.meter.ready()

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        metrics = outputs["metrics"]
        phases = {phase: metrics[f"time/{phase}"] for phase in PHASES}
        self.meter.done(**phases, loss=metrics["train/loss"], length=metrics["rollout/length"])
        self.meter.wait()


def fit(cfg: DictConfig, module: Distillation, callbacks: Sequence[Callback]) -> None:
    """All steps of a configuration."""
    trainer: Trainer = build(cfg.trainer, "trainer")(callbacks=list(callbacks), logger=False)
    data = build(cfg.data, "data")
    data.prepare = module.read
    trainer.fit(module, datamodule=data)


def main(folder: str, case: str, advantage: str) -> None:
    meter = Meter(reserved_output())
    quiet()
    cfg = configuration(Case(**json.loads(case)), Path(folder), advantage, ENDLESS)
    fit(cfg, make_module(cfg), [Steps(meter)])


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main(*sys.argv[1:])
