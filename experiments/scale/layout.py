"""Qwen3-VL-4B taught by Qwen3-VL-32B on 8 nodes of 8 GPUs of 80 GB: bytes per GPU and bytes per
step, by arithmetic from the models' true shapes. Nothing here was run on a GPU.

python experiments/scale/layout.py    # the tables of docs/scale.md
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel

from gndpo.memory.activations import layers_of
from gndpo.memory.footprint import cache_bytes
from gndpo.tables.shapes import build

STUDENT, TEACHER = "Qwen/Qwen3-VL-4B-Instruct", "Qwen/Qwen3-VL-32B-Instruct"
GB = 10**9
CARD = 0.9 * 85.0 * GB
"""An 80 GB card without what the allocator and the CUDA context take."""
FLOAT, HALF = 4, 2
ADAM = 2
"""Numbers per weight."""
ENTRY = {"151644": {"logprob": -12.34567928314209, "rank": 20, "decoded_token": " the"}}
"""What vLLM's answer says of one id of one token, as JSON."""


@dataclass(frozen=True)
class Step:
    """prompts, group: P, G of the whole step. prompt, answer: mean tokens, longest: of an answer.
    image: bytes of a PNG. likeliest: ids that a served teacher names per token. pieces: forwards
    (and backwards) that a rank cuts its share into."""

    prompts: int
    group: int
    prompt: int
    answer: int
    longest: int
    image: int
    likeliest: int
    pieces: int


STEP = Step(512, 8, 1024, 512, 2048, 500_000, 20, 8)


@dataclass(frozen=True)
class Weights:
    """Numbers in the decoder's layers, and in all else, which stays whole on every rank."""

    layers: int
    rest: int

    @property
    def all(self) -> int:
        return self.layers + self.rest

    def of_rank(self, ranks: int) -> float:
        return self.layers / ranks + self.rest


def weights(model: PreTrainedModel) -> Weights:
    layers = sum(count(layer) for layer in layers_of(model, "language"))
    return Weights(layers, count(model) - layers)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def replicated(student: Weights) -> dict[str, float]:
    """trainer=ddp: bfloat16, float32 masters, gradients and Adam on every rank."""
    learned = FLOAT * student.all
    return {
        "student": HALF * student.all,
        "masters": learned,
        "gradients": learned,
        "Adam": ADAM * learned,
    }


def sharded(student: Weights, ranks: int) -> dict[str, float]:
    """trainer=fsdp: a shard is its own master, in float32; layers are whole while it writes."""
    own = FLOAT * student.of_rank(ranks)
    together = FLOAT * student.layers * (1 - 1 / ranks)
    return {
        "student": own,
        "gradients": own,
        "Adam": ADAM * own,
        "whole for the rollout": together,
    }


def adapted(student: Weights, rank: int, model: PreTrainedModel) -> dict[str, float]:
    """trainer=ddp with low-rank matrices beside the language model's linear layers."""
    linear = [m for m in layers_of(model, "language")[0].modules() if isinstance(m, nn.Linear)]
    layers = len(layers_of(model, "language"))
    learned = FLOAT * layers * sum(rank * (m.in_features + m.out_features) for m in linear)
    return {
        "student": HALF * student.all,
        "adapter": learned,
        "gradients": learned,
        "Adam": ADAM * learned,
    }


def answers_that_fit(items: dict[str, float], model: PreTrainedModel, step: Step) -> int:
    """Of the longest, in the cache of a rollout beside what stays; gradients are not there then."""
    left = CARD - sum(x for name, x in items.items() if name != "gradients")
    return max(0, int(left // cache_bytes(model, 1, step.prompt + step.longest)))


def all_reduce(size: float, ranks: int) -> float:
    """Bytes that a rank sends, and receives, for a sum over ranks in a ring."""
    return 2 * (ranks - 1) / ranks * size


def gather(size: float, ranks: int) -> float:
    """Of a tensor of `size` bytes that all ranks hold a part of; as many to scatter a sum."""
    return (ranks - 1) / ranks * size


def split(student: Weights, pieces: int, ranks: int) -> dict[str, float]:
    """What trainer=fsdp moves for the student, bytes that a rank receives per step."""
    layers = gather(FLOAT * student.layers, ranks)
    return {
        "fsdp: layers, forward and backward": 2 * pieces * layers,
        "fsdp: gradients of layers": pieces * layers,
        "fsdp: gradients of the rest": all_reduce(FLOAT * student.rest, ranks),
        "fsdp: layers for the rollout": layers,
    }


def traffic(student: Weights, teacher: Weights, step: Step, ranks: int) -> dict[str, float]:
    """Bytes that a rank receives per step."""
    read = step.prompts * step.group * (step.prompt + step.answer)
    named = step.likeliest + 1
    return {
        "ddp: gradients": all_reduce(FLOAT * student.all, ranks),
        **split(student, step.pieces, ranks),
        "fsdp: the teacher's layers": step.pieces * gather(HALF * teacher.layers, ranks),
        "vLLM writes: weights, to each server": HALF * student.all,
        "served teacher: requests, of the step": read * len("151644,")
        + step.prompts * step.group * step.image * 4 / 3,
        "served teacher: replies, of the step": read * named * len(json.dumps(ENTRY)),
    }


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    rule = ["---", *["---:"] * (len(titles) - 1)]
    return ["| " + " | ".join(row) + " |" for row in (titles, rule, *rows)]


def memory_rows(ranks: Sequence[int]) -> list[list[str]]:
    """Layouts, what stays on a GPU, and how many answers can be written at a time."""
    model, large = build(STUDENT), build(TEACHER)
    student, teacher = weights(model), weights(large)
    wide = build(STUDENT).to(torch.float32)
    beside = {"teacher": HALF * teacher.all}
    layouts = [
        ("ddp, teacher beside it", replicated(student) | beside, model),
        ("ddp, teacher served", replicated(student), model),
        ("ddp, LoRA of rank 16, teacher served", adapted(student, 16, model), model),
    ]
    for n in ranks:
        split = {"teacher": HALF * teacher.of_rank(n)}
        layouts += [
            (f"fsdp over {n}, teacher served", sharded(student, n), wide),
            (f"fsdp over {n}, teacher split too", sharded(student, n) | split, wide),
        ]
    return [
        [
            name,
            *(f"{items.get(key, 0) / GB:.1f}" for key in ("student", "masters", "gradients")),
            *(f"{items.get(key, 0) / GB:.1f}" for key in ("Adam", "whole for the rollout")),
            f"{items.get('teacher', 0) / GB:.1f}",
            f"{sum(items.values()) / GB:.1f}",
            str(answers_that_fit(items, dtype, STEP)),
        ]
        for name, items, dtype in layouts
    ]


def main() -> None:
    titles = ["GB per GPU", "student", "masters", "gradients", "Adam", "whole for the rollout"]
    titles += ["teacher", "sum", "answers at a time"]
    print(*table(titles, memory_rows((8, 48, 64))), sep="\n")
    print()
    found = traffic(weights(build(STUDENT)), weights(build(TEACHER)), STEP, 48)
    print(*table(["per step", "GB"], [[k, f"{x / GB:.1f}"] for k, x in found.items()]), sep="\n")


if __name__ == "__main__":
    main()
