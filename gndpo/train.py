"""`gndpo-train`: one run, or with `-m` a sweep of them."""

import logging
import os
import sys
from pathlib import Path
from typing import Any

import hydra
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning import Trainer
from omegaconf import DictConfig

from gndpo import checkpoints, sweeps
from gndpo.arguments import quoted
from gndpo.build import build, build_advantage, build_settings, config_folder, resolve
from gndpo.callbacks import Checkpoints, Evaluation, RunLog, StartUp
from gndpo.checks import check_values
from gndpo.errors import UserError
from gndpo.loggers.description import description
from gndpo.loggers.mirror import Mirror
from gndpo.module import Distillation
from gndpo.policies import load_policies
from gndpo.quiet import quiet
from gndpo.reading import Speed
from gndpo.reads import only_reinforces
from gndpo.runfolder import RunFolder, config_hash, environment
from gndpo.schedules import Schedule
from gndpo.settings import Reuse, Settings
from gndpo.signal import Strategy
from gndpo.update import UpdateSettings

log = logging.getLogger(__name__)

STARTUP_ROWS = 2
"""Rows that are read before the first step."""
OTHERS = ("metrics.jsonl", "checkpoints", "multirun.yaml", "report")
"""What only a used folder holds."""


@hydra.main(version_base="1.3", config_path=config_folder(), config_name="train")
def app(cfg: DictConfig) -> None:
    quiet()
    settings = HydraConfig.get()
    sweeping = settings.mode == RunMode.MULTIRUN
    folder = RunFolder(Path(settings.runtime.output_dir))
    resolve(cfg)
    name = config_hash(cfg)
    if not claim(folder, name, again=sweeping or cfg.ckpt == "last"):
        log.info("%s is finished already, skipped", folder.path)
        return
    folder.save_config(cfg, settings)
    identity = {
        "name": folder.path.name,
        "strategy": settings.runtime.choices["advantage"],
        "experiment": settings.runtime.choices.get("experiment"),
        "overrides": list(settings.overrides.task),
        "config_hash": name,
        "seed": cfg.seed,
        "steps": cfg.steps,
    }
    torch.set_num_threads(threads(settings))
    folder.write_status(
        status="running", reason=None, started=folder.started, **identity, **environment()
    )
    try:
        check_values(cfg)
        train(cfg, folder)
    except (KeyboardInterrupt, SystemExit):  # Lightning turns Ctrl-C into an exit
        folder.write_status(status="interrupted", reason="stopped by hand; ckpt=last continues it")
        raise
    except BaseException as error:
        reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        folder.write_status(status="failed", reason=reason)
        raise
    finally:
        close_loggers()
    folder.write_status(status="completed", step=cfg.steps)


def claim(folder: RunFolder, name: str, *, again: bool) -> bool:
    """Whether there is something to do in the folder; a folder of another run is refused before
    anything in it is touched."""
    status = folder.status()
    if not status and any((folder.path / name).exists() for name in OTHERS):
        raise UserError(f"{folder.path} holds other files; choose another hydra.run.dir or sweep")
    if status.get("status") == "failed" and not (folder.path / "metrics.jsonl").exists():
        return True
    if status and status.get("config_hash") != name:
        raise UserError(
            f"{folder.path} holds another run; choose another hydra.run.dir or sweep, "
            "or remove the folder"
        )
    if status and not again:
        raise UserError(
            f"{folder.path} holds this run already (status: {status.get('status')}); "
            "use ckpt=last to continue it, or remove the folder"
        )
    return status.get("status") != "completed"


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
    student, teachers, processor = load_policies(cfg)
    check_signal(cfg, parts[0], student.vocabulary.size)
    module = Distillation(student, teachers, processor, *parts)
    check_sight(cfg, module)
    data: Any = build(cfg.data, "data")
    start = restore(folder, module)
    data.start_step, data.prepare = start, module.read
    fit(cfg, folder, module, data)


def check_signal(cfg: DictConfig, strategy: Strategy, vocabulary: int) -> None:
    """A run in which nothing would be learned."""
    writer = str(cfg.rollout.writer._target_)
    if writer in ("gndpo.writers.teacher", "gndpo.writers.data") and only_reinforces(
        strategy, vocabulary
    ):
        raise UserError(
            f"rollout.writer={writer}: the student writes nothing, and this advantage only weighs "
            "what it writes; use an advantage with a match, for example full_kl or sft, or another "
            "rollout"
        )


def check_sight(cfg: DictConfig, module: Distillation) -> None:
    """To a model that only reads, all renderings of a prompt are the same."""
    if module.processor.image_processor is not None:
        return
    if cfg.rollout.rendering != "image":
        raise UserError(
            f"rollout.rendering={cfg.rollout.rendering}: the student only reads text; use image, "
            "which is then the prompt as it is"
        )
    views = sorted({*module.reads.requests} - {"student", "teacher"})
    if views:
        raise UserError(
            f"advantage={cfg.advantage._target_.rpartition('.')[2]} reads what the image adds "
            f"({', '.join(views)}), and the student only reads text; use another advantage, or a "
            "vision-language model"
        )


def restore(folder: RunFolder, module: Distillation) -> int:
    """Continue after the last checkpoint, if there is one; rows beyond it are dropped and
    computed again."""
    complete = checkpoints.found(folder.checkpoints)
    if complete:
        module.continue_from(complete[-1])
        log.info("continuing %s after step %d", folder.path, module.step)
    folder.drop_after(module.step if complete else -1)
    return module.step


def fit(cfg: DictConfig, folder: RunFolder, module: Distillation, data: Any) -> None:
    first = data.rows("train", data.seed)
    callbacks = [
        StartUp(folder, [first[i] for i in range(STARTUP_ROWS)], cfg.prompts),
        RunLog(folder),
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
        Checkpoints(folder, every=cfg.checkpoint.every, keep=cfg.checkpoint.keep),
    ]
    loggers = [build(section, f"logger.{name}") for name, section in cfg.logger.items()]
    for logger in loggers:
        logger.log_hyperparams(description(cfg, folder.status()))
    trainer: Trainer = build(cfg.trainer, "trainer")(callbacks=callbacks, logger=loggers)
    trainer.fit(module, datamodule=data)


def module_settings(cfg: DictConfig) -> Settings:
    return Settings(
        seed=cfg.seed,
        steps=cfg.steps,
        group=cfg.rollout.group,
        max_tokens=cfg.rollout.max_tokens,
        micro=cfg.rollout.micro,
        answers=cfg.rollout.answers,
        rendering=cfg.rollout.rendering,
        max_prompt_tokens=cfg.data.max_prompt_tokens,
        overlong=cfg.data.overlong,
        aggregation=cfg.surrogate.aggregation,
        schedule=build_settings(Schedule, "schedule", cfg.schedule),
        diagnose_every=cfg.diagnose.every,
        diagnose_prompts=cfg.diagnose.prompts,
        samples_per_step=cfg.samples.per_step,
        update=build_settings(UpdateSettings, "updates", cfg.updates),
        reuse=build_settings(Reuse, "reuse", cfg.reuse),
        speed=build_settings(Speed, "rollout.speed", cfg.rollout.speed),
    )


def threads(settings: Any) -> int:
    """Cores per job: two processes with two threads each on two cores run ten times slower than
    with one each."""
    cores = len(os.sched_getaffinity(0))
    jobs = settings.launcher.get("n_jobs", 1) if settings.mode == RunMode.MULTIRUN else 1
    wanted = int(os.environ.get("OMP_NUM_THREADS", cores))
    return max(1, min(wanted, cores // (cores if jobs < 1 else min(jobs, cores))))


def close_loggers() -> None:
    """Without this, the next job of a sweep would write into this one's W&B run."""
    if "wandb" in sys.modules:
        sys.modules["wandb"].finish()


def main() -> None:
    """The console script."""
    sys.argv[1:] = quoted(sweeps.expand_folders(sys.argv[1:]))
    try:
        app()
    finally:
        sweeps.summarize()


if __name__ == "__main__":
    main()
