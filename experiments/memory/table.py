"""Predicted memory of the published pairs, as Markdown. Arithmetic on the meta device, no run.

python experiments/memory/table.py > experiments/memory/README.md
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import torch
from peft import LoraConfig
from shapes import CHECKPOINTS, build
from transformers import PreTrainedModel
from transformers.utils import logging

from gndpo.memory import footprint
from gndpo.memory.footprint import cache_bytes
from gndpo.memory.prediction import GB, Memory, predict
from gndpo.memory.sizes import Sizes
from gndpo.models.parts import train_only
from gndpo.pieces import Portion

PAIRS = (
    ("GNDPO", "InternVL3.5-1B", "InternVL3.5-8B"),
    ("GNDPO", "InternVL3.5-2B", "InternVL3.5-8B"),
    ("GNDPO", "InternVL3.5-4B", "InternVL3.5-8B"),
    ("VGS", "Qwen3-VL-2B", "Qwen3-VL-8B"),
    ("VGS", "Qwen3-VL-4B", "Qwen3-VL-8B"),
    ("TrOPD", "R1-Distill-Qwen-1.5B", "Qwen2.5-Math-7B"),
    ("-", "Gemma3-4B", "Gemma3-4B"),
)
LENGTHS = (512, 2048, 8192)
RANKS = 8
SHARDED = {"student", "masters", "gradients", "optimizer", "optimizer temporaries", "teacher"}
LORA = {"r": 16, "target_modules": r".*language_model.*\.(q|k|v|o|gate|up|down)_proj"}
TEXT_LORA = LORA | {"target_modules": r".*\.(q|k|v|o|gate|up|down)_proj"}

OPENING = """# What a run needs

Predictions of `gndpo.memory.prediction` for the true shapes in `shapes.py`, whose weight counts are
checked against the published ones. bfloat16, AdamW, float32 masters, SDPA attention, a frozen
teacher in bfloat16, a strategy that reads sampled tokens alone; `full` trains all but the vision
tower, `LoRA` matrices of rank 16 beside the language model's linear layers. The leanest portions:
one answer written at a time, one per forward (`rollout.answers=1
updates.answers=1 updates.chunk=1024`). GB are 10^9 bytes; leave a tenth free. Nothing here was
run on an accelerator; `tests/memory/test_footprint.py` compares items with what a CPU allocates.

    python experiments/memory/table.py > experiments/memory/README.md
"""
ENDING = """
\\* Arithmetic: weights, masters, gradients, optimizer and teacher divided by 8, the rest per GPU
as before, without the layer that is gathered at a time."""


def student(name: str, *, lora: bool) -> PreTrainedModel:
    model = build(name)
    if not lora:
        train_only(model, ["projector", "language"])
        return model
    model.requires_grad_(False)
    with torch.device("meta"):
        model.add_adapter(LoraConfig(**(LORA if CHECKPOINTS[name].patches else TEXT_LORA)))
    return model


def sizes(name: str, length: int, *, checkpointing: bool) -> Sizes:
    return Sizes(
        prompts=32,
        group=8,
        prompt_tokens=CHECKPOINTS[name].prompt,
        answer_tokens=length,
        written=(1, 1),
        portion=Portion(micro=1, answers=1, chunk=1024),
        patches=CHECKPOINTS[name].patches,
        checkpointing=checkpointing,
        optimizer_states=2,
        trained=frozenset({"student"}),
        whole=frozenset(),
    )


def sharded(memory: Memory) -> Memory:
    """Everything that stays divided by the ranks; what a forward needs is per rank already."""
    phases = {
        name: {k: v // RANKS if k in SHARDED else v for k, v in items.items()}
        for name, items in memory.phases.items()
    }
    return Memory(phases)


def row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def gb(size: float) -> str:
    return f"{size / GB:.1f}"


def arms() -> Iterator[tuple[str, str, PreTrainedModel, PreTrainedModel]]:
    for paper, name, teacher in PAIRS:
        for lora in (False, True):
            title = f"{paper}: {name} <- {teacher}, {'LoRA' if lora else 'full'}"
            yield name, title, student(name, lora=lora), build(teacher)


def staying() -> Iterator[str]:
    """What is there from the first step to the last."""
    names = ("student", "masters", "gradients", "optimizer", "teacher")
    yield row("GB", *names, "sum", "sum / 8 GPUs*", "cache per answer, T=8192")
    yield row("---", *["---:"] * 8)
    for name, title, model, teacher in arms():
        memory = predict(model, [teacher], sizes(name, 512, checkpointing=False))
        items = [memory.phases["the update"][item] for item in names]
        cache = cache_bytes(model, 1, sizes(name, 8192, checkpointing=False).cached)
        yield row(title, *map(gb, [*items, sum(items), sum(items) / RANKS, cache]))


def peaks(*, ranks: int) -> Iterator[str]:
    """The peak for each length, without and with checkpointing."""
    heads = [f"T={t}{', checkpointing' if c else ''}" for t in LENGTHS for c in (False, True)]
    yield row("GB", *heads)
    yield row("---", *["---:"] * len(heads))
    for name, title, model, teacher in arms():
        cells = []
        for length in LENGTHS:
            for checkpointing in (False, True):
                setting = sizes(name, length, checkpointing=checkpointing)
                memory = predict(model, [teacher], setting)
                cells.append(gb((sharded(memory) if ranks > 1 else memory).peak))
        yield row(title, *cells)


def update() -> Iterator[str]:
    """Where the update's memory goes as portions grow, beside what stays."""
    names = ("activations", "attention masks", "head")
    yield row("answers per forward", "T", "attention", "checkpointing", *names)
    yield row("---:", "---:", "---", "---", *["---:"] * len(names))
    name = "InternVL3.5-2B"
    model = student(name, lora=False)
    for answers, length, attention, checkpointing in product(
        (1, 8), LENGTHS[1:], ("sdpa", "flash_attention_2"), (False, True)
    ):
        if attention != "sdpa" and checkpointing:
            continue  # a packed row needs a mask that this kernel does not take
        model.config.get_text_config()._attn_implementation = attention
        setting = sizes(name, length, checkpointing=checkpointing)
        setting = replace(setting, portion=replace(setting.portion, answers=answers))
        items = footprint.update(model, setting)
        yes = "yes" if checkpointing else "no"
        yield row(str(answers), str(length), attention, yes, *(gb(items[x]) for x in names))


def main() -> None:
    logging.set_verbosity_error()
    print(OPENING)
    print("## What stays\n", *staying(), sep="\n")
    print("\n## Peak on one device\n", *peaks(ranks=1), sep="\n")
    print("\n## Peak per GPU of eight*\n", *peaks(ranks=RANKS), sep="\n")
    print("\n## Beside what stays, in the update of InternVL3.5-2B\n", *update(), sep="\n")
    print(ENDING)


if __name__ == "__main__":
    main()
