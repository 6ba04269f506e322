"""`gndpo-eval run=<run folder>`: measure a checkpoint of a run on rows that training never saw, or
on a benchmark; import what another harness measured."""

import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

import hydra
import torch
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from gndpo import checkpoints
from gndpo.arguments import quoted
from gndpo.benchmarks.answer_file import AnswerFile
from gndpo.benchmarks.benchmark import Benchmark, Reader, ask, graded, summary
from gndpo.benchmarks.harness import import_results
from gndpo.benchmarks.lmms_eval import export
from gndpo.build import build, config_folder, resolve
from gndpo.console import console
from gndpo.errors import UserError
from gndpo.evaluation import evaluate
from gndpo.forms import check_section, read_settings
from gndpo.models.parts import trained
from gndpo.models.processor import Processor
from gndpo.policies import load_student, load_teachers
from gndpo.quiet import quiet
from gndpo.runfolder import RunFolder
from gndpo.sources import Source

CPU = torch.device("cpu")
FORMS = {
    "a whole number, 1 or larger": "batch rows? answers?",
    "a whole number, 0 or larger": "k seed",
}
BENCHMARK_FORMS = {
    "a whole number, 1 or larger": "max_tokens limit?",
    "a whole number, 0 or larger": "k",
}
"""Form -> keys of the command, and of `benchmark`; `?`: or null."""


@hydra.main(version_base="1.3", config_path=config_folder(), config_name="evaluate")
def app(cfg: DictConfig) -> None:
    quiet()
    resolve(cfg)
    check_section("", cfg, FORMS)
    if cfg.benchmark is not None:
        check_section("benchmark.", cfg.benchmark, BENCHMARK_FORMS)
    if cfg.lmms_eval is not None:
        written = export(cfg.benchmark, Path(cfg.lmms_eval))
        Console().print(f"Written to {written}", highlight=False, soft_wrap=True)
        return
    if cfg.run is None:
        raise UserError(
            "which run? type gndpo-eval run=<run folder>, for example run=runs/demo/..."
        )
    folder = RunFolder(Path(cfg.run))
    if cfg.results is not None:
        new = import_results(folder, Path(cfg.results))
        print(f"{len(new)} results appended to {folder.path / 'evaluations.jsonl'}")
    elif cfg.benchmark is None:
        on_split(cfg, folder)
    else:
        on_benchmark(cfg, folder)


def on_split(cfg: DictConfig, folder: RunFolder) -> None:
    """The run's own rows."""
    run = run_config(folder)
    device = device_of(cfg.device)
    reader, context, processor, step = load_reader(run, folder, str(cfg.checkpoint), device)
    data: Any = build(run.data, "data")
    if cfg.split not in ("test", "validation"):
        raise UserError(f"split={cfg.split} is unknown; choose test or validation")
    rows = data.evaluation_rows(cfg.split, cfg.rows)
    numbers = evaluate(
        reader,
        processor,
        rows,
        build(run.reward, "reward"),
        k=cfg.k,
        max_tokens=run.rollout.max_tokens,
        seed=cfg.seed,
        device=device,
        context=context,
        batch=cfg.batch,
    )
    label = {"step": step, "model": who(cfg), "split": cfg.split, "n": len(rows), "k": cfg.k}
    folder.append("evaluations.jsonl", label | numbers)
    show(f"{folder.path.name}, step {step}, {who(cfg)}, {len(rows)} rows of {cfg.split}", numbers)


def on_benchmark(cfg: DictConfig, folder: RunFolder) -> None:
    """A benchmark; its answers stay in the run folder."""
    run = run_config(folder)
    if isinstance(cfg.benchmark.reward, str):
        raise UserError(
            f"benchmark.reward={cfg.benchmark.reward}: another grader is a choice of a group, type "
            f"reward@benchmark.reward={cfg.benchmark.reward}"
        )
    benchmark: Benchmark = build(cfg.benchmark, "benchmark")
    which = str(cfg.checkpoint)
    step = 0 if which in ("base", "teacher") else chosen_step(folder, which)
    settings = settings_of(cfg)
    name = f"{benchmark.name}-{'teacher' if which == 'teacher' else f'step{step}'}.jsonl"
    file = AnswerFile(folder.path / "answers" / name, settings)
    records = ask(benchmark, file, partial(reader_of, cfg, run, folder))
    rewards = graded(records, benchmark.reward)
    file.rewrite()
    numbers = {f"eval/{name}": x for name, x in summary(benchmark, records, rewards).items()}
    label = {"benchmark": benchmark.name, "step": step, "model": who(cfg), "n": len(records)}
    reward = OmegaConf.to_container(cfg.benchmark.reward)
    row = label | {"k": benchmark.k, **numbers, "settings": {**settings, "reward": reward}}
    folder.append("evaluations.jsonl", row)
    title = f"{folder.path.name}, step {step}, {who(cfg)}, {len(records)} rows"
    show(f"{title} of {benchmark.name}", numbers)


def settings_of(cfg: DictConfig) -> dict[str, Any]:
    """What the answers to a benchmark depend on besides the weights."""
    asked = ("rows", "greedy", "k", "temperature", "max_tokens")
    settings: Any = OmegaConf.to_container(cfg.benchmark)
    return {"seed": cfg.seed, **{name: settings[name] for name in asked}}


def reader_of(cfg: DictConfig, run: DictConfig, folder: RunFolder) -> Reader:
    """The checkpoint, sampling at the benchmark's temperature."""
    run.rollout.temperature = cfg.benchmark.temperature
    device = device_of(cfg.device)
    source, context, processor, _ = load_reader(run, folder, str(cfg.checkpoint), device)
    return Reader(source, context, processor, device, cfg.batch, cfg.answers, cfg.seed)


def device_of(name: str) -> torch.device:
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise UserError(f"device={name} cannot be used ({reason:.80}); use device=cpu") from error


def who(cfg: DictConfig) -> str:
    return "teacher" if cfg.checkpoint == "teacher" else "student"


def run_config(folder: RunFolder) -> DictConfig:
    """The configuration that a run was started with."""
    file = folder.path / ".hydra" / "config.yaml"
    if not folder.status() or not file.exists():
        raise UserError(
            f"run={folder.path} is not a run folder (no run.json); give one of runs/*, "
            "as gndpo-train printed it"
        )
    cfg = read_settings(file)
    for key in ("teacher", "model.parts", "updates.answers", "eval.batch", "rollout.speed"):
        if OmegaConf.select(cfg, key, default="absent") == "absent":
            raise UserError(
                f"run={folder.path} was made by an older version: its configuration has no "
                f"{key}; train it again"
            )
    check_stranger(cfg, file)
    return cfg


def check_stranger(cfg: DictConfig, file: Path) -> None:
    """What a run folder of somebody else may ask for only where this machine's owner allows it."""
    if "${" in file.read_text():
        raise UserError(f"{file} names variables, ${{...}}, as no run writes them; mend it")
    if cfg.model.get("remote_code") and not os.environ.get("GNDPO_REMOTE_CODE"):
        raise UserError(
            f"{file} asks for model.remote_code=true: code of its checkpoints would run here; read "
            "that code and set GNDPO_REMOTE_CODE=1"
        )


def load_reader(
    cfg: DictConfig, folder: RunFolder, which: str, device: torch.device = CPU
) -> tuple[Source, str | None, Processor, int]:
    """Who `checkpoint=` names and the context of its prompts, the processor, the step it stems
    from. A teacher that moves is read as it was at the start."""
    student, processor, pair = load_student(cfg)
    if which == "teacher":
        teachers = load_teachers(cfg, student, processor, pair)
        for policy in teachers.source.policies.values():
            policy.to(device)
        return teachers.source, teachers.context, processor, 0
    step = 0 if which == "base" else find_step(folder, which, student.model)
    return Source.of(student.to(device)), None, processor, step


def find_step(folder: RunFolder, which: str, model: Any) -> int:
    """Load the checkpoint of a step, the last or the best one; says its step."""
    step = chosen_step(folder, which)
    checkpoints.load_weights(steps(folder)[step], trained(model))
    return step


def chosen_step(folder: RunFolder, which: str) -> int:
    """The step that `checkpoint=` names."""
    found = steps(folder)
    named = {"last": max(found, default=None), "best": folder.status().get("best")}
    wanted = int(which) if which.isdigit() else named.get(which)
    if wanted is None or wanted not in found:
        if not found:
            raise UserError(
                f"checkpoint={which}: {folder.path} has none, it was stopped before its first; use "
                "checkpoint=base, the student as it started"
            )
        raise UserError(
            f"checkpoint={which}: {folder.path} has {', '.join(map(str, found))}; "
            "use one of these steps, last, best, base or teacher"
        )
    return wanted


def steps(folder: RunFolder) -> dict[int, Path]:
    """The run's checkpoints by step."""
    return checkpoints.found(folder.checkpoints)


def show(title: str, numbers: dict[str, float]) -> None:
    table = Table("measure", "value", title=title)
    for name, value in numbers.items():
        table.add_row(name.removeprefix("eval/"), f"{value:.4g}")
    Console().print(table)


@console
def main() -> None:
    """The console script."""
    sys.argv[1:] = quoted(sys.argv[1:])
    app()


if __name__ == "__main__":
    main()
