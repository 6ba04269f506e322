"""`gndpo-eval run=<run folder>`: measure a checkpoint of a run on rows that training never saw."""

from pathlib import Path
from typing import Any

import hydra
import torch
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from gndpo import checkpoints
from gndpo.build import build, config_folder
from gndpo.errors import UserError
from gndpo.evaluation import evaluate
from gndpo.policies import load_student, load_teachers
from gndpo.quiet import quiet
from gndpo.runfolder import RunFolder
from gndpo.sources import Source


@hydra.main(version_base="1.3", config_path=config_folder(), config_name="evaluate")
def app(cfg: DictConfig) -> None:
    quiet()
    if cfg.run is None:
        raise UserError(
            "which run? type gndpo-eval run=<run folder>, for example run=runs/demo/..."
        )
    folder = RunFolder(Path(cfg.run))
    trained = run_config(folder)
    reader, context, processor, step = load_reader(trained, folder, str(cfg.checkpoint))
    data: Any = build(trained.data, "data")
    if cfg.split not in ("test", "validation"):
        raise UserError(f"split={cfg.split} is unknown; choose test or validation")
    numbers = evaluate(
        reader,
        processor,
        data.evaluation_rows(cfg.split, cfg.rows),
        build(trained.reward, "reward"),
        k=cfg.k,
        max_tokens=trained.rollout.max_tokens,
        seed=cfg.seed,
        device=torch.device("cpu"),
        context=context,
    )
    model = "teacher" if cfg.checkpoint == "teacher" else "student"
    label = {"step": step, "model": model, "split": cfg.split, "n": cfg.rows, "k": cfg.k}
    folder.append("evaluations.jsonl", label | numbers)
    show(f"{folder.path.name}, step {step}, {model}, {cfg.rows} rows of {cfg.split}", numbers)


def run_config(folder: RunFolder) -> DictConfig:
    """The configuration that a run was started with."""
    file = folder.path / ".hydra" / "config.yaml"
    if not folder.status() or not file.exists():
        raise UserError(
            f"run={folder.path} is not a run folder (no run.json); give one of runs/*, "
            "as gndpo-train printed it"
        )
    cfg = OmegaConf.load(file)
    assert isinstance(cfg, DictConfig)
    for key in ("teacher", "model.adapter", "model.trains"):
        if OmegaConf.select(cfg, key, default="absent") == "absent":
            raise UserError(
                f"run={folder.path} was made by an older version: its configuration has no "
                f"{key}; train it again"
            )
    return cfg


def load_reader(
    cfg: DictConfig, folder: RunFolder, which: str
) -> tuple[Source, str | None, Any, int]:
    """Who `checkpoint=` names and the context of its prompts, the processor, the step it stems
    from. A teacher that moves is read as it was at the start."""
    student, processor, pair = load_student(cfg)
    if which == "teacher":
        teachers = load_teachers(cfg, student, processor, pair)
        return teachers.source, teachers.context, processor, 0
    step = 0 if which == "base" else find_step(folder, which, student.model)
    return Source.of(student), None, processor, step


def find_step(folder: RunFolder, which: str, model: Any) -> int:
    """Load the checkpoint of a step, or the last one; says its step."""
    found = {
        int(path.name.removeprefix("step-")): path for path in checkpoints.found(folder.checkpoints)
    }
    wanted = (
        max(found, default=None) if which == "last" else int(which) if which.isdigit() else None
    )
    if wanted not in found:
        raise UserError(
            f"checkpoint={which}: {folder.path} has {', '.join(map(str, found)) or 'none'}; "
            "use one of these steps, last, base or teacher"
        )
    checkpoints.load_weights(found[wanted], model)
    return wanted


def show(title: str, numbers: dict[str, float]) -> None:
    table = Table("measure", "value", title=title)
    for name, value in numbers.items():
        table.add_row(name.removeprefix("eval/"), f"{value:.4g}")
    Console().print(table)


def main() -> None:
    """The console script."""
    app()


if __name__ == "__main__":
    main()
