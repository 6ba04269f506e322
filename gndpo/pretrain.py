"""Supervised training of a student and a teacher on worked solutions; the result is cached.

gndpo-pretrain model.pair.seed=1
"""

import json
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import hydra
import torch
from omegaconf import DictConfig

from gndpo.build import build, config_folder
from gndpo.cache import cached, fingerprint
from gndpo.data.contexts import Context, InContext
from gndpo.data.module import Rows
from gndpo.data.rows import Row
from gndpo.errors import UserError
from gndpo.evaluation import evaluate
from gndpo.models.digits import FORMAT, build_model, build_processor
from gndpo.models.load import Pair
from gndpo.models.processor import Processor
from gndpo.models.vocabulary import Vocabulary
from gndpo.policy import Policy
from gndpo.quiet import quiet
from gndpo.rewards import boxed_reward
from gndpo.supervised import Recipe, fit, make_lesson, solution_nats

MakeRows = Callable[..., Rows]
"""(split, seed, images=...) -> rows."""

CODE = (
    "data/contexts",
    "data/digits",
    "data/templates",
    "data/warp",
    "models/digits",
    "models/packing",
    "models/processor",
    "models/vocabulary",
    "muon",
    "policy",
    "pretrain",
    "prompts",
    "rng",
    "schedules",
    "supervised",
)
"""The files, below gndpo/, whose change makes a trained pair stale."""

LONGEST = 24
"""Tokens that an answer may have when the models are measured; a worked solution has 14."""


@dataclass(frozen=True)
class Plan:
    """A model and its training. vision, text: fields of InternVLVisionConfig and Qwen3Config.
    images: how many of the training images it sees; None: all. contexts: by name, what some of
    its questions stand in."""

    vision: Mapping[str, Any]
    text: Mapping[str, Any]
    recipe: Recipe
    images: int | None
    contexts: Mapping[str, Context] = field(default_factory=dict)


def pretrained_pair(
    *, cache_dir: str, rows: MakeRows, seed: int, evaluation_rows: int, student: Plan, teacher: Plan
) -> Pair:
    """Both models, from the cache or trained into it; `pretrain.json` says what they can do."""
    settings = repr((rows, seed, evaluation_rows, student, teacher))
    files = [Path(__file__).parent / f"{name}.py" for name in CODE]

    def make(folder: Path) -> None:
        """A process and one thread each: a busy neighbour stalls nothing; repeats bitwise."""
        plans = {"student": student, "teacher": teacher}
        print(f"training student and teacher into {cache_dir}: minutes, once", file=sys.stderr)
        processes = ProcessPoolExecutor(
            len(plans), get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)
        )
        with spawning(), processes:
            jobs = {
                name: processes.submit(
                    train, plan, rows, seed, evaluation_rows, folder / name, show=plan is teacher
                )
                for name, plan in plans.items()
            }
            measured = {name: job.result() for name, job in jobs.items()}
        text = json.dumps({"seed": seed, **measured}, indent=1)
        (folder / "pretrain.json").write_text(text + "\n")

    folder = cached(Path(cache_dir) / f"pair-{fingerprint(settings, files)}", make)
    return Pair(student=folder / "student", teacher=folder / "teacher")


@contextmanager
def spawning() -> Iterator[None]:
    """Spawned children copy their parent's default start method; a joblib worker's is one that
    they do not know."""
    before = multiprocessing.get_start_method(allow_none=True)
    multiprocessing.set_start_method("spawn", force=True)
    try:
        yield
    finally:
        multiprocessing.set_start_method(before, force=True)


def train(
    plan: Plan, rows: MakeRows, seed: int, evaluation_rows: int, folder: Path, *, show: bool
) -> dict[str, Any]:
    """Train, save to `folder`, measure. Runs in a process of its own; one of them shows a bar."""
    quiet()
    begin = time.perf_counter()
    processor = Processor(build_processor())
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build_model(processor.tokenizer, vision=plan.vision, text=plan.text)
    policy = Policy(model, Vocabulary.of(processor, model, eos=None))
    taught = InContext(rows("train", seed, images=plan.images), [*plan.contexts.values()], seed)
    fit(policy, processor, taught, plan.recipe, show=show)
    seconds = time.perf_counter() - begin
    model.eval()  # type: ignore[no-untyped-call]
    model.save_pretrained(folder)
    processor.save(folder)
    test = rows("test", seed)
    asked = [test[i] for i in range(evaluation_rows)]
    return {
        "parameters": model.num_parameters(),
        "seconds": round(seconds, 1),
        **measure(policy, processor, asked, seed),
        "contexts": {
            name: measure(policy, processor, [context.around(row) for row in asked], seed)
            for name, context in plan.contexts.items()
        },
    }


@torch.no_grad()
def measure(
    policy: Policy, processor: Processor, rows: Sequence[Row], seed: int
) -> dict[str, float]:
    """What `evaluate` finds, and the nats of the dearest format token, with and without image."""
    reward = partial(boxed_reward, format_weight=0.0)
    measured = evaluate(
        policy,
        processor,
        rows,
        reward,
        k=1,
        max_tokens=LONGEST,
        seed=seed,
        device=torch.device("cpu"),
    )
    few = rows[:128]
    marks = processor.tokenizer.convert_tokens_to_ids([*FORMAT, processor.tokenizer.eos_token])
    for name, with_image in (("image", len(few)), ("text", 0)):
        lesson = make_lesson(processor, few, with_image)
        ids_N = torch.cat([*lesson.image_ids, *lesson.text_ids])
        cost_N = solution_nats(policy, lesson)
        measured[f"format_nats/{name}"] = max(float(cost_N[ids_N == mark].mean()) for mark in marks)
    return {name: round(value, 4) for name, value in measured.items()}


@hydra.main(version_base="1.3", config_path=config_folder(), config_name="pretrain")
def main(cfg: DictConfig) -> None:
    """Train the pair of `model`, or find it in the cache; say where it is and what it can do."""
    quiet()
    pair = build(cfg.model.pair, "model.pair")
    report = Path(pair.student).parent / "pretrain.json"
    if not report.is_file():
        raise UserError(
            f"{pair.student} and {pair.teacher} are ready; gndpo-pretrain is for model=digits"
        )
    measured = json.loads(report.read_text())
    for name, path in vars(pair).items():
        of = {key.removeprefix("eval/"): value for key, value in measured[name].items()}
        print(
            f"{name}: {of['acc_1']:.1%} of unseen images right, {of['acc_k']:.1%} at T = 1, "
            f"{of['blind']:.1%} without image; trained in {of['seconds']:.0f} s: {path}"
        )
        for context, found in of["contexts"].items():
            print(
                f"  in context {context}: {found['eval/acc_1']:.1%} right, "
                f"{found['eval/acc_k']:.1%} at T = 1, {found['eval/length']:.1f} tokens"
            )


if __name__ == "__main__":
    main()
