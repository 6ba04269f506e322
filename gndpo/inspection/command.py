"""`gndpo-inspect run=<run folder>`: what every strategy would make of the same answers, token by
token."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import hydra
import torch
from hydra import compose
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from gndpo.arguments import quoted
from gndpo.build import build, config_folder, resolve
from gndpo.checks import check_values
from gndpo.combinations import check_sight
from gndpo.console import console
from gndpo.errors import UserError
from gndpo.evaluate import chosen_step, device_of, run_config, steps
from gndpo.evaluation import grade
from gndpo.folders import made
from gndpo.forms import check_section
from gndpo.inspection.answers import records
from gndpo.inspection.choice import choose
from gndpo.inspection.extremes import LEAST_WIDTH, table
from gndpo.inspection.signals import Strategies, see
from gndpo.module import Distillation
from gndpo.policies import load_policies
from gndpo.quiet import quiet
from gndpo.runfolder import RunFolder, write_text
from gndpo.startup import check_start
from gndpo.train import STARTUP_ROWS, module_settings
from gndpo.writers import student

FORMS = {
    "a whole number, 1 or larger": "prompts group?",
    "a whole number, 0 or larger": "seed top",
    "a list of texts": "show",
    "a text or a list of texts": "strategies",
    "a text": "out?",
}


@dataclass(frozen=True)
class Subject:
    """What is looked at. cfg: as gndpo-train takes it. advantage: the name of its strategy. folder:
    of the run, where it is one."""

    name: str
    cfg: DictConfig
    advantage: str
    folder: RunFolder | None = None


@hydra.main(version_base="1.3", config_path=config_folder(), config_name="inspect")
def app(cfg: DictConfig) -> None:
    quiet()
    check_section("", cfg, FORMS)
    subject = of_groups() if cfg.run is None else of_run(cfg, HydraConfig.get().overrides.task)
    folder = made(Path(cfg.out or (subject.folder.path if subject.folder else ".")), "out=")
    found, left_out = inspect(cfg, subject)
    for name, reason in left_out.items():
        print(f"{name} is left out: {reason}", file=sys.stderr)
    console = Console(width=max(Console().width, LEAST_WIDTH))
    given = [*dict.fromkeys([subject.advantage, *cfg.show])]
    shown = [name for name in given if name in found["answers"][0]["advantages"]]
    console.print(table(found["answers"], cfg.top, shown))
    file = folder / "tokens.json"
    write_text(file, json.dumps(found, allow_nan=False, separators=(",", ":")) + "\n")
    console.print(f"Written to {file}", highlight=False, soft_wrap=True)


def own_keys() -> list[str]:
    """The keys of this command; all others are those of gndpo-train."""
    return [str(key) for key in OmegaConf.load(f"{config_folder()}/inspect.yaml")]


def foreign(overrides: Sequence[str]) -> list[str]:
    """Those that are about the training configuration."""
    return [x for x in overrides if x.lstrip("+~").partition("=")[0] not in own_keys()]


def of_run(cfg: DictConfig, overrides: Sequence[str] = ()) -> Subject:
    """A run with the configuration that it was started with."""
    if others := foreign(overrides):
        raise UserError(
            f"run={cfg.run} brings its own configuration, and {others[0]} would change it; leave "
            "one of the two out"
        )
    folder = RunFolder(Path(cfg.run))
    trained = run_config(folder)
    return Subject(folder.path.name, trained, folder.status()["strategy"], folder)


def of_groups() -> Subject:
    """The configuration that gndpo-train would have with the same groups and keys."""
    settings = HydraConfig.get()
    cfg = compose("train", foreign(settings.overrides.task))
    resolve(cfg)
    check_values(cfg)
    choices = settings.runtime.choices
    return Subject(f"model={choices['model']}", cfg, choices["advantage"])


def inspect(cfg: DictConfig, subject: Subject) -> tuple[dict[str, Any], Mapping[str, str]]:
    """What tokens.json holds, and why strategies were left out; `cfg`: conf/inspect.yaml."""
    if cfg.split not in ("test", "validation"):
        raise UserError(f"split={cfg.split} is unknown; choose test or validation")
    device, checkpoint = device_of(cfg.device), checkpoint_of(cfg, subject)
    module, left_out = load(cfg, subject)
    if checkpoint is not None:
        module.continue_from(checkpoint)
    module.to(device)
    data: Any = build(subject.cfg.data, "data")
    rows = data.evaluation_rows(cfg.split, cfg.prompts)
    first, share = module.read(rows[:STARTUP_ROWS]).prompts, module.read(rows)
    prompts = share.prompts
    strategies, vocabulary = module.strategy, module.student.vocabulary.size
    assert isinstance(strategies, Strategies)
    with torch.no_grad():
        check_start(first, module.student, module.teachers.source, module.processor)
        answers = module.roll(share)
        rewards = grade(answers, prompts, module.processor, module.reward)
        seen = see(module.score(share, answers, rewards), strategies, vocabulary)
    found = {
        "step": module.step,
        "model": subject.name,
        "strategies": {name: {"kind": kind} for name, kind in seen.kinds.items()},
        "answers": records(prompts, answers, rewards, seen, module.processor),
    }
    return found, left_out


def load(cfg: DictConfig, subject: Subject) -> tuple[Distillation, Mapping[str, str]]:
    """The module of a training step, its strategy all of the chosen ones; and why others were left
    out. The student writes, whoever wrote in training."""
    trained = subject.cfg
    policies = policy, _, processor = load_policies(trained)
    strategies, left_out = choose(
        cfg.strategies,
        subject.advantage,
        trained.advantage,
        policy.vocabulary.size,
        sees=processor.image_processor is not None,
    )
    settings = module_settings(trained)
    module = Distillation(
        *policies,
        strategies,
        build(trained.surrogate.loss, "surrogate.loss"),
        student,
        build(trained.reward, "reward"),
        build(trained.optimizer, "optimizer"),
        replace(settings, seed=cfg.seed, group=cfg.group or settings.group),
    )
    check_sight(trained, module)
    return module, left_out


def checkpoint_of(cfg: DictConfig, subject: Subject) -> Path | None:
    """None: the student before training."""
    which = str(cfg.checkpoint)
    if which == "teacher":
        raise UserError(
            "checkpoint=teacher: the answers are the student's; use last, base or a step number"
        )
    if subject.folder is None and which not in ("last", "base"):
        raise UserError(f"checkpoint={which}: of which run? type run=<run folder>, or leave it out")
    if subject.folder is None or which == "base":
        return None
    return steps(subject.folder)[chosen_step(subject.folder, which)]


@console
def main() -> None:
    """The console script."""
    sys.argv[1:] = quoted(sys.argv[1:])
    app()


if __name__ == "__main__":
    main()
