"""`gndpo-angles run=<run folder>`: the angles between language, visual and standard gradients by
visual dependency, and the factor eta that steering needs (arXiv 2606.00564, eqs. 12 and 15)."""

import json
import sys
from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig, ListConfig
from rich.console import Console
from rich.progress import track

from gndpo.arguments import quoted
from gndpo.build import build, build_settings, config_folder
from gndpo.console import console
from gndpo.data.rows import Row
from gndpo.errors import UserError
from gndpo.evaluate import find_step, run_config
from gndpo.policies import load_policies
from gndpo.quiet import quiet
from gndpo.report.angles import show, summarize
from gndpo.runfolder import RunFolder, write_text
from gndpo.term_gradients import Models, measure
from gndpo.update import UpdateSettings


@hydra.main(version_base="1.3", config_path=config_folder(), config_name="angles")
def app(cfg: DictConfig) -> None:
    from gndpo.report.angle_figure import draw  # matplotlib takes a second to import

    quiet()
    check(cfg)
    folder = RunFolder(Path(cfg.run))
    models, rows, step = load(cfg, folder)
    repeats = track(range(cfg.repeats), "gradients", transient=True)
    knobs = {name: cfg[name] for name in ("group", "bins", "seed")}
    P = cfg.prompts
    sets = [measure(models, rows[i * P : (i + 1) * P], repeat=i, **knobs) for i in repeats]
    asked = {name: cfg[name] for name in ("split", "prompts", "group", "repeats", "seed")}
    summary = {"run": folder.path.name, "step": step, **asked, **summarize(sets, [*cfg.gammas])}
    out = folder.path if cfg.out is None else Path(cfg.out)
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "angles.json", json.dumps(summary, indent=1) + "\n")
    draw(summary, out / "angles.png")
    console = Console()
    show(summary, console)
    console.print(f"Written to {out}: angles.json, angles.png", highlight=False, soft_wrap=True)


def check(cfg: DictConfig) -> None:
    """What no later step could refuse in one sentence."""
    if cfg.run is None:
        raise UserError(
            "which run? type gndpo-angles run=<run folder>, for example run=runs/demo/..."
        )
    if cfg.split not in ("test", "validation"):
        raise UserError(f"split={cfg.split} is unknown; choose validation or test")
    if cfg.checkpoint == "teacher":
        raise UserError(
            "checkpoint=teacher: the gradients are the student's; use last, base or a step number"
        )
    least = {"prompts": 1, "group": 1, "bins": 1, "repeats": 2}
    for name, number in least.items():
        if not isinstance(cfg[name], int) or cfg[name] < number:
            raise UserError(f"{name}={cfg[name]} must be a whole number, {number} or larger")
    numbers = cfg.gammas if isinstance(cfg.gammas, ListConfig) else []
    if not numbers or not all(isinstance(x, int | float) and x > 0 for x in numbers):
        raise UserError(f"gammas={cfg.gammas} must be a list of numbers larger than 0, like [1,2]")


def load(cfg: DictConfig, folder: RunFolder) -> tuple[Models, list[Row], int]:
    """The run's student and teachers, rows that training never saw, and the checkpoint's step."""
    trained = run_config(folder)
    student, teachers, processor = load_policies(trained)
    which = str(cfg.checkpoint)
    step = 0 if which == "base" else find_step(folder, which, student.model)
    updates = build_settings(UpdateSettings, "updates", trained.updates)
    models = Models(student, teachers, processor, trained.rollout.max_tokens, updates.portion)
    data: Any = build(trained.data, "data")
    rows = data.evaluation_rows(cfg.split, cfg.repeats * cfg.prompts)
    if not all(row["images"] for row in rows):
        raise UserError(f"run={folder.path}: some rows of {cfg.split} have no image to depend on")
    return models, rows, step


@console
def main() -> None:
    """The console script."""
    sys.argv[1:] = quoted(sys.argv[1:])
    app()


if __name__ == "__main__":
    main()
