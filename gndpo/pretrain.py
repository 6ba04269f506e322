"""Supervised training of a student and a teacher on worked solutions; the result is cached.

gndpo-pretrain model.pair.seed=1
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import hydra
import torch
from omegaconf import DictConfig
from rich.console import Console
from rich.progress import track
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.nn.utils.rnn import pad_sequence
from torch.optim import AdamW, Optimizer
from transformers import PreTrainedModel

from gndpo.build import build, config_folder
from gndpo.cache import cached, fingerprint
from gndpo.data.module import Rows
from gndpo.data.rows import Row
from gndpo.errors import UserError
from gndpo.evaluation import evaluate
from gndpo.models.digits import FORMAT, build_model, build_processor
from gndpo.models.load import Pair
from gndpo.muon import Muon
from gndpo.policy import Policy, Vocabulary
from gndpo.prompts import Rendering, make_prompts
from gndpo.quiet import quiet
from gndpo.rewards import boxed_reward
from gndpo.schedules import Schedule

MakeRows = Callable[[str, int], Rows]

CODE = (
    "data/digits",
    "data/warp",
    "models/digits",
    "muon",
    "policy",
    "pretrain",
    "prompts",
    "rng",
    "schedules",
)
"""The files, below gndpo/, whose change makes a trained pair stale."""

LONGEST = 24
"""Tokens that an answer may have when the models are measured; a worked solution has 14."""


@dataclass(frozen=True)
class Recipe:
    """steps, batch: updates, and rows of each. text_rows: how many of those lose their image.

    lr: AdamW, for embeddings, biases and scales. muon_lr: Muon, for matrices.
    Both rise over `warmup` steps and fall linearly to 0.
    """

    steps: int
    batch: int
    text_rows: int
    lr: float
    muon_lr: float
    weight_decay: float
    warmup: int
    clip: float

    def __post_init__(self) -> None:
        if self.steps < 1 or not 0 <= self.text_rows <= self.batch:
            raise UserError(f"a recipe needs steps >= 1 and 0 <= text_rows <= batch, got {self}")


@dataclass(frozen=True)
class Plan:
    """A model and its training. vision, text: fields of InternVLVisionConfig and Qwen3Config."""

    vision: Mapping[str, Any]
    text: Mapping[str, Any]
    recipe: Recipe


def pretrained_pair(
    *, cache_dir: str, rows: MakeRows, seed: int, evaluation_rows: int, student: Plan, teacher: Plan
) -> Pair:
    """Both models, from the cache or trained into it; `pretrain.json` says what they can do."""
    settings = repr((rows, seed, evaluation_rows, student, teacher))
    files = [Path(__file__).parent / f"{name}.py" for name in CODE]

    def make(folder: Path) -> None:
        """A process and one thread each: a busy neighbour stalls nothing; repeats bitwise."""
        plans = {"student": student, "teacher": teacher}
        processes = ProcessPoolExecutor(
            len(plans), get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)
        )
        with processes:
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


def train(
    plan: Plan, rows: MakeRows, seed: int, evaluation_rows: int, folder: Path, *, show: bool
) -> dict[str, float]:
    """Train, save to `folder`, measure. Runs in a process of its own; one of them shows a bar."""
    quiet()
    begin = time.perf_counter()
    processor = build_processor()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build_model(processor.tokenizer, vision=plan.vision, text=plan.text)
    policy = Policy(model, Vocabulary.of(processor, model))
    fit(policy, processor, rows("train", seed), plan.recipe, show=show)
    seconds = time.perf_counter() - begin
    model.eval()  # type: ignore[no-untyped-call]
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    test = rows("test", seed)
    measured = measure(policy, processor, [test[i] for i in range(evaluation_rows)], seed)
    return {"parameters": model.num_parameters(), "seconds": round(seconds, 1), **measured}


def fit(policy: Policy, processor: Any, rows: Rows, recipe: Recipe, *, show: bool) -> None:
    optimizers = make_optimizers(policy.model, recipe)
    rates = [[group["lr"] for group in optimizer.param_groups] for optimizer in optimizers]
    schedule = Schedule(recipe.warmup, "linear")
    console = Console(stderr=True)
    hidden = not (show and console.is_terminal)
    policy.model.train()
    for step in track(range(recipe.steps), "pretraining", console=console, disable=hidden):
        batch = [rows[step * recipe.batch + i] for i in range(recipe.batch)]
        image, text = solution_nats(policy, processor, batch, recipe.batch - recipe.text_rows)
        policy.model.zero_grad()
        torch.cat([image, text]).mean().backward()  # type: ignore[no-untyped-call]
        clip_grad_norm_(policy.model.parameters(), recipe.clip)
        scale = schedule.factor(step, recipe.steps)
        for optimizer, base in zip(optimizers, rates, strict=True):
            for group, rate in zip(optimizer.param_groups, base, strict=True):
                group["lr"] = rate * scale
            optimizer.step()


def make_optimizers(model: PreTrainedModel, recipe: Recipe) -> list[Optimizer]:
    """Muon for the matrices between layers, AdamW for everything else; only matrices decay."""
    matrices = {name for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name}
    inner = [p for name, p in model.named_parameters() if name in matrices]
    outer = [p for name, p in model.named_parameters() if name not in matrices]
    return [
        Muon(inner, lr=recipe.muon_lr, weight_decay=recipe.weight_decay),
        AdamW(outer, lr=recipe.lr, betas=(0.9, 0.99), weight_decay=0.0),
    ]


def solution_nats(
    policy: Policy, processor: Any, rows: Sequence[Row], with_image: int
) -> tuple[Tensor, Tensor]:
    """Nats of every token of the worked solutions: first rows with their image, then the others."""
    prompts = make_prompts(rows, processor)
    solutions = [row["solution"] + processor.tokenizer.eos_token for row in rows]
    ids = [torch.tensor(row) for row in processor.tokenizer(solutions)["input_ids"]]
    image = prompts.renderings["image"].select(0, with_image)
    text = prompts.renderings["text"].select(with_image, len(rows))
    return nats(policy, image, ids[:with_image]), nats(policy, text, ids[with_image:])


def nats(policy: Policy, rendering: Rendering, ids: list[Tensor]) -> Tensor:
    """[N]: -log p of the N tokens of the answers `ids`, one answer per prompt."""
    if not ids:
        return torch.zeros(0)
    ids_BT = pad_sequence(ids, batch_first=True, padding_value=policy.vocabulary.pad)
    length_B = torch.tensor([len(answer) for answer in ids])
    written_BT = torch.arange(ids_BT.shape[1]) < length_B[:, None]
    logp_NV = policy.head.log_probs(policy.hidden(rendering, ids_BT)[written_BT])
    return -logp_NV.gather(-1, ids_BT[written_BT][:, None])[:, 0]


@torch.no_grad()
def measure(policy: Policy, processor: Any, rows: Sequence[Row], seed: int) -> dict[str, float]:
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
    solutions = processor.tokenizer(
        [row["solution"] + processor.tokenizer.eos_token for row in few]
    )
    ids_N = torch.tensor([i for row in solutions["input_ids"] for i in row])
    marks = processor.tokenizer.convert_tokens_to_ids([*FORMAT, processor.tokenizer.eos_token])
    for name, cost_N in (
        ("image", solution_nats(policy, processor, few, len(few))[0]),
        ("text", solution_nats(policy, processor, few, 0)[1]),
    ):
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


if __name__ == "__main__":
    main()
