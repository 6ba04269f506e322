"""`gndpo-train`: one run, or with `-m` a sweep of them."""

import logging
import sys
from pathlib import Path
from typing import Any

import hydra
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning import Trainer
from omegaconf import DictConfig

from gndpo import checkpoints, preemption, ranks, sweeps
from gndpo.arguments import quoted
from gndpo.build import build, build_advantage, build_settings, config_folder, resolve
from gndpo.callbacks import Checkpoints, Evaluation, RunLog, StartUp
from gndpo.checks import check_values
from gndpo.claims import claimed
from gndpo.combinations import check_sight, check_signal
from gndpo.console import console
from gndpo.engines.server import opened
from gndpo.errors import UserError
from gndpo.launch import launch, ranks_to_start
from gndpo.loggers.description import description
from gndpo.loggers.mirror import Mirror
from gndpo.module import Distillation
from gndpo.policies import load_policies
from gndpo.quiet import quiet
from gndpo.reading import Speed
from gndpo.resources import threads
from gndpo.runfolder import RunFolder, config_hash, environment, hide_secrets
from gndpo.schedules import Schedule
from gndpo.secrets import hidden, remember, without_secrets
from gndpo.settings import Reuse, Settings
from gndpo.shares import check_shares
from gndpo.update import UpdateSettings

log = logging.getLogger(__name__)

STARTUP_ROWS = 2
"""Rows that are read before the first step."""


@hydra.main(version_base="1.3", config_path=config_folder(), config_name="train")
def app(cfg: DictConfig) -> None:
    quiet()
    settings = HydraConfig.get()
    sweeping = settings.mode == RunMode.MULTIRUN
    hide_typed(settings)
    resolve(cfg)
    count = ranks_to_start(cfg.trainer)
    with preemption.heeding(), preemption.waiting(False):
        if count:
            launch(count, Path(settings.runtime.output_dir), settings, again=sweeping)
        else:
            take_part(cfg, settings, sweeping=sweeping)


def take_part(cfg: DictConfig, settings: Any, *, sweeping: bool) -> None:
    """The run, or this process's part of it."""
    if "strategy" in cfg.trainer:
        ranks.join()
    folder = RunFolder(Path(ranks.from_first(lambda: settings.runtime.output_dir)))
    name = config_hash(cfg)
    with ranks.entered_by_first(claimed(folder, name, cfg.ckpt, sweeping=sweeping)) as ours:
        if ours:
            run(cfg, folder, settings, name)


def run(cfg: DictConfig, folder: RunFolder, settings: Any, name: str) -> None:
    """Train, and say in run.json how it ended. name: of what the run computes."""
    folder.save_config(cfg, settings)
    identity = without_secrets(
        {
            "name": folder.path.name,
            "strategy": settings.runtime.choices["advantage"],
            "experiment": settings.runtime.choices.get("experiment"),
            "overrides": list(settings.overrides.task),
            "config_hash": name,
            "seed": cfg.seed,
            "steps": cfg.steps,
        }
    )
    torch.set_num_threads(threads(settings))
    folder.write_status(
        status="running", reason=None, started=folder.started, **identity, **environment()
    )
    try:
        check_values(cfg)
        train(cfg, folder)
    except preemption.Preempted:
        folder.write_status(status="preempted", reason="asked to leave; ckpt=last continues it")
        raise
    except (KeyboardInterrupt, SystemExit):  # Lightning turns Ctrl-C into an exit
        folder.write_status(status="interrupted", reason="stopped by hand; ckpt=last continues it")
        raise
    except BaseException as error:
        reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        folder.write_status(status="failed", reason=hidden(reason))
        raise
    finally:
        close_loggers()
    folder.write_status(status="completed", step=cfg.steps)


def hide_typed(settings: Any) -> None:
    """Secrets among the overrides are hidden in all that is written, also by others than us: W&B
    keeps a run's command line, Hydra that of a sweep."""
    remember(settings.overrides.task)
    sys.argv[1:] = without_secrets(sys.argv[1:])
    hide_secrets(Path(settings.sweep.dir) / "multirun.yaml")


def train(cfg: DictConfig, folder: RunFolder) -> None:
    """Build everything, continue where the last checkpoint ended, fit."""
    parts = (
        build_advantage(cfg.advantage),
        build(cfg.surrogate.loss, "surrogate.loss"),
        build(cfg.rollout.writer, "rollout.writer"),
        build(cfg.reward, "reward"),
        build(cfg.optimizer, "optimizer"),
        module_settings(cfg),
    )
    check_shares(cfg.prompts, cfg.updates.minibatches)
    student, teachers, processor = load_policies(cfg)
    check_signal(cfg, parts[0], student.vocabulary.size)
    module = Distillation(student, teachers, processor, *parts)
    check_sight(cfg, module)
    data: Any = build(cfg.data, "data")
    start = restore(folder, module)
    data.start_step, data.prepare = start, module.read
    data.places = ranks.places(cfg.prompts, cfg.updates.minibatches)
    with opened(module.writer, folder.path / "engine"):
        fit(cfg, folder, module, data)


def restore(folder: RunFolder, module: Distillation) -> int:
    """Continue after the last checkpoint that can be read, if there is one; rows beyond it are
    dropped and computed again."""
    newest, troubles = ranks.from_first(lambda: checkpoints.newest(folder.checkpoints))
    if troubles:
        then = f"continuing from {newest.name}" if newest else "starting anew, there is no other"
        log.warning("%s: %s; %s", folder.checkpoints, "; ".join(troubles), then)
    if newest:
        module.continue_from(newest)
        log.info("continuing %s after step %d", folder.path, module.step)
    folder.drop_after(module.step if newest else -1)
    return module.step


def fit(cfg: DictConfig, folder: RunFolder, module: Distillation, data: Any) -> None:
    first = data.rows("train", data.seed)
    callbacks = [
        StartUp(folder, [first[i] for i in range(STARTUP_ROWS)], cfg.prompts),
        RunLog(folder),
        preemption.Preemption(),
        Evaluation(
            folder,
            {
                split: data.evaluation_rows(split, cfg.eval[split])
                for split in ("validation", "test")
            },
            every=cfg.eval.every,
            k=cfg.eval.k,
            max_tokens=cfg.rollout.max_tokens,
            seed=cfg.seed,
            batch=cfg.eval.batch,
        ),
        Mirror(folder),
        *(build(section, f"callbacks.{name}") for name, section in cfg.callbacks.items()),
        Checkpoints(folder, **cfg.checkpoint),
    ]
    named = cfg.logger.items() if ranks.rank() == 0 else ()
    loggers = [build(section, f"logger.{name}") for name, section in named]
    for logger in loggers:
        logger.log_hyperparams(description(cfg, folder.status()))
    trainer: Trainer = build(cfg.trainer, "trainer")(callbacks=callbacks, logger=loggers)
    trainer.fit(module, datamodule=data)


def module_settings(cfg: DictConfig) -> Settings:
    return Settings(
        seed=cfg.seed,
        steps=cfg.steps,
        prompts=cfg.prompts,
        group=cfg.rollout.group,
        max_tokens=cfg.rollout.max_tokens,
        micro=cfg.rollout.micro,
        answers=cfg.rollout.answers,
        rendering=cfg.rollout.rendering,
        max_prompt_tokens=cfg.data.max_prompt_tokens,
        overlong=cfg.data.overlong,
        aggregation=cfg.surrogate.aggregation,
        correction=cfg.rollout.correction,
        schedule=build_settings(Schedule, "schedule", cfg.schedule),
        diagnose_every=cfg.diagnose.every,
        diagnose_prompts=cfg.diagnose.prompts,
        samples_per_step=cfg.samples.per_step,
        update=build_settings(UpdateSettings, "updates", cfg.updates),
        reuse=build_settings(Reuse, "reuse", cfg.reuse),
        speed=build_settings(Speed, "rollout.speed", cfg.rollout.speed),
    )


def close_loggers() -> None:
    """Without this, the next job of a sweep would write into this one's W&B run."""
    if "wandb" in sys.modules:
        sys.modules["wandb"].finish()


@console
def main() -> None:
    """The console script."""
    sys.argv[1:] = quoted(sweeps.expand_folders(sys.argv[1:]))
    try:
        with preemption.listening():
            app()
    finally:
        for sweep in sweeps.RUNNING:
            hide_secrets(sweep.folder / "multirun.yaml")
        sweeps.summarize()


if __name__ == "__main__":
    main()
