"""Next-token training on worked solutions: how the embedded pair learns before it distils."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.nn.utils.rnn import pad_sequence
from torch.optim import AdamW, Optimizer
from torch.utils.data import DataLoader, Dataset
from transformers import PreTrainedModel

from gndpo.data.module import Rows
from gndpo.data.rows import Row
from gndpo.errors import UserError
from gndpo.models.processor import Processor
from gndpo.muon import Muon
from gndpo.policy import Policy
from gndpo.prompts import Rendering, make_prompts
from gndpo.schedules import Schedule


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


class Lesson(NamedTuple):
    """Prompts and the token ids of their worked solutions, some with their image, some without."""

    image: Rendering
    image_ids: list[Tensor]
    text: Rendering
    text_ids: list[Tensor]


def make_lesson(processor: Processor, rows: Sequence[Row], with_image: int) -> Lesson:
    """The first `with_image` rows keep their image."""
    prompts = make_prompts(rows, processor)
    solutions = [row["solution"] + processor.tokenizer.eos_token for row in rows]
    ids = [torch.tensor(row) for row in processor.tokenizer(solutions)["input_ids"]]
    image = prompts.renderings["image"].select(slice(0, with_image))
    text = prompts.renderings["text"].select(slice(with_image, len(rows)))
    return Lesson(image, ids[:with_image], text, ids[with_image:])


class Lessons(Dataset[Lesson]):
    """One lesson per training step; prepared by a process beside the one that learns."""

    def __init__(self, processor: Processor, rows: Rows, recipe: Recipe) -> None:
        self.processor, self.rows, self.recipe = processor, rows, recipe

    def __len__(self) -> int:
        return self.recipe.steps

    def __getitem__(self, step: int) -> Lesson:
        batch = self.recipe.batch
        rows = [self.rows[step * batch + i] for i in range(batch)]
        return make_lesson(self.processor, rows, batch - self.recipe.text_rows)


def fit(policy: Policy, processor: Processor, rows: Rows, recipe: Recipe, *, show: bool) -> None:
    optimizers = make_optimizers(policy.model, recipe)
    rates = [[group["lr"] for group in optimizer.param_groups] for optimizer in optimizers]
    schedule = Schedule(recipe.warmup, "linear")
    console = Console(stderr=True)
    hidden = not (show and console.is_terminal)
    lessons = DataLoader(Lessons(processor, rows, recipe), batch_size=None, num_workers=1)
    policy.model.train()
    bar = track(lessons, "pretraining", total=recipe.steps, console=console, disable=hidden)
    for step, lesson in enumerate(bar):
        policy.model.zero_grad()
        solution_nats(policy, lesson).mean().backward()  # type: ignore[no-untyped-call]
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


def solution_nats(policy: Policy, lesson: Lesson) -> Tensor:
    """Nats of every token of the worked solutions: first rows with their image, then the others."""
    image = nats(policy, lesson.image, lesson.image_ids)
    return torch.cat([image, nats(policy, lesson.text, lesson.text_ids)])


def nats(policy: Policy, rendering: Rendering, ids: list[Tensor]) -> Tensor:
    """[N]: -log p of the N tokens of the answers `ids`, one answer per prompt."""
    if not ids:
        return torch.zeros(0)
    ids_BT = pad_sequence(ids, batch_first=True, padding_value=policy.vocabulary.pad)
    length_B = torch.tensor([len(answer) for answer in ids])
    written_BT = torch.arange(ids_BT.shape[1]) < length_B[:, None]
    logp_NV = policy.head.log_probs(policy.hidden(rendering, ids_BT)[written_BT])
    return -logp_NV.gather(-1, ids_BT[written_BT][:, None])[:, 0]
