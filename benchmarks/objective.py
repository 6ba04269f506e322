"""Both sides minimize the same: one loss and one gradient from the same prompts and answers.

    python -m benchmarks.objective

We leave padding and visual ids out of both softmaxes and TRL does not: here nothing is left out.
"""

import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from lightning import Callback
from torch import Tensor

from benchmarks import ours, pairs
from benchmarks.cases import SMALL_V, Case, grouped
from benchmarks.meter import Meter
from gndpo.module import Distillation
from gndpo.quiet import quiet
from gndpo.rng import generator
from gndpo.rollout import Answers
from gndpo.scores import STUDENT
from gndpo.writers import Desk

CASE = grouped(replace(SMALL_V, layers=2, hidden=64, prompt=64, answer=8), 4)
WORDS = range(10, 250)
"""Ids of plain text in every family's tokenizer."""
Gradients = dict[str, Tensor]


class Caught(Callback):
    """The loss and the gradients of the first step."""

    def on_before_optimizer_step(self, trainer: Any, module: Any, optimizer: Any) -> None:
        self.gradients = gradients(module.student.model)

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, *_: Any) -> None:
        self.loss = outputs["metrics"]["train/loss"]


def gradients(model: torch.nn.Module) -> Gradients:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def given_answers(case: Case) -> Tensor:
    """[B, T] ids of plain text."""
    draws = generator(pairs.SEED, "benchmark/answers")
    shape = (case.answers, case.answer)
    return torch.from_numpy(draws.integers(WORDS.start, WORDS.stop, size=shape))


def answers(ids_BT: Tensor) -> Answers:
    """Written by the student, all of them whole."""
    B, T = ids_BT.shape
    author_BT = torch.full_like(ids_BT, STUDENT)
    ends_B = torch.ones(B, dtype=torch.bool)
    return Answers(ids_BT, torch.full((B,), T), torch.zeros(B, T), ends_B, author_BT)


def ours_of(case: Case, folder: Path, ids_BT: Tensor) -> tuple[float, Gradients]:
    def write(desk: Desk) -> Answers:
        return answers(ids_BT)

    cfg = ours.configuration(case, folder, "full_kl", 1, ["updates.clip_norm=null"])
    module = ours.make_module(cfg)
    module.writer = write
    allow_all(module)
    caught = Caught()
    ours.fit(cfg, module, [caught])
    return caught.loss, caught.gradients


def allow_all(module: Distillation) -> None:
    for policy in (module.student, *module.teachers.of.values()):
        policy.write_only(replace(policy.vocabulary, forbidden=()))


def theirs_of(case: Case, folder: Path, ids_BT: Tensor) -> tuple[float, Gradients]:
    from benchmarks.peer_trl import make_trainer

    trainer = make_trainer(case, folder, Meter(io.StringIO()), steps=1)
    trainer._generate_single_turn = lambda *_, **__: ids_BT.tolist()  # type: ignore[method-assign]
    rows = [trainer.train_dataset[i] for i in range(len(ids_BT))]
    trainer.model.train()
    batch = trainer._generate_and_score_completions(rows)
    loss = trainer.compute_loss(trainer.model, batch)
    loss.backward()
    return loss.item(), gradients(trainer.model)


def difference(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> float:
    """|| ours - theirs || / || theirs || over all weights together."""
    assert ours.keys() == theirs.keys(), ours.keys() ^ theirs.keys()
    apart = torch.stack([(ours[name] - theirs[name]).norm() for name in ours]).norm()
    return float(apart / torch.stack([x.norm() for x in theirs.values()]).norm())


def compared(case: Case) -> dict[str, float]:
    """Both losses, and the relative differences of loss and gradient."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        pairs.write(case, folder, steps=1)
        ids_BT = given_answers(case)
        (loss, gradient), (other, reference) = (
            side(case, folder, ids_BT) for side in (ours_of, theirs_of)
        )
    apart = {"loss": abs(loss / other - 1), "gradient": difference(gradient, reference)}
    return {"ours": loss, "theirs": other, **apart}


def main() -> None:
    quiet()
    for family in pairs.IMAGES:
        found = compared(replace(CASE, family=family))
        print(
            f"{family}: loss {found['ours']:.7f} and {found['theirs']:.7f}, apart by "
            f"{found['loss']:.1e}; gradients by {found['gradient']:.1e}"
        )


if __name__ == "__main__":
    main()
