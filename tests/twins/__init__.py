"""Tiny random checkpoints of every supported architecture, in the form in which users download
them: config, weights, tokenizer, chat template, image preprocessing, generation settings."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from twins import gemma3, internvl, llava, qwen_vl, text
from twins.recipe import Recipe, Size

BUILD: Mapping[str, Callable[[Size], Recipe]] = {
    "internvl": internvl.recipe,
    "qwen3_vl": qwen_vl.qwen3_vl,
    "qwen2_5_vl": qwen_vl.qwen2_5_vl,
    "gemma3": gemma3.recipe,
    "llava": llava.llava,
    "llava_next": llava.llava_next,
    "text": text.r1_distill,
    "text_qwen3": text.qwen3,
}
FAMILIES = tuple(BUILD)
VISION = tuple(family for family in FAMILIES if not family.startswith("text"))


def write(
    family: str,
    folder: Path,
    *,
    seed: int = 0,
    layers: int = 2,
    hidden: int = 32,
    dtype: torch.dtype = torch.float32,
    initializer_range: float = 0.2,
    vocabulary: int | None = None,
) -> Path:
    """Checkpoints of one family share tokenizer and image preprocessing.

    layers: of the language model. hidden: its width, a multiple of 16. vocabulary: rows of the
    head; None: some more than the tokenizer has ids.
    """
    recipe = BUILD[family](Size(layers, hidden, vocabulary))
    recipe.write(folder, seed=seed, dtype=dtype, initializer_range=initializer_range)
    return folder
