"""True shapes of the checkpoints that the presets name, on the meta device: no weights, no memory,
no network. Widths and depths are those of each checkpoint's config.json; what conf/table/shapes.csv
does not give is the default of transformers, which is that checkpoint's value too."""

import csv
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    InternVLConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
    Qwen3VLConfig,
)

from gndpo.folders import config_folder
from gndpo.models.parts import PARTS, train_only

HEAD = 128
"""Width of an attention head, in all of them."""
DEEPSTACK = {24: [5, 11, 17], 27: [8, 16, 24]}
"""Layers of Qwen3-VL's tower that are shown to the language model, by its depth."""

Sizes = Mapping[str, str]


@cache
def shapes() -> dict[str, dict[str, str]]:
    """The rows of conf/table/shapes.csv by checkpoint."""
    path = Path(config_folder()) / "table" / "shapes.csv"
    with path.open(encoding="utf-8", newline="") as file:
        return {line["checkpoint"]: line for line in csv.DictReader(file)}


@cache
def build(checkpoint: str, parts: tuple[str, ...] = PARTS) -> PreTrainedModel:
    """In bfloat16. parts: those that learn."""
    sizes = shapes()[checkpoint]
    seeing = sizes["family"] in ("internvl", "qwen3_vl")
    auto: Any = AutoModelForImageTextToText if seeing else AutoModelForCausalLM
    with torch.device("meta"):
        model: PreTrainedModel = auto.from_config(
            FAMILIES[sizes["family"]](sizes), dtype=torch.bfloat16
        )
    train_only(model, parts)
    return model


def text(sizes: Sizes) -> dict[str, Any]:
    """A language model's numbers, as its family names them."""
    return {
        "vocab_size": int(sizes["ids"]),
        "hidden_size": int(sizes["hidden"]),
        "intermediate_size": int(sizes["wide"]),
        "num_hidden_layers": int(sizes["layers"]),
        "num_attention_heads": int(sizes["heads"]),
        "num_key_value_heads": int(sizes["keys"]),
        "tie_word_embeddings": sizes["tied"] == "1",
    }


def qwen2(sizes: Sizes) -> PreTrainedConfig:
    return Qwen2Config(**text(sizes))


def qwen3(sizes: Sizes) -> PreTrainedConfig:
    return Qwen3Config(**text(sizes), head_dim=HEAD)


def internvl(sizes: Sizes) -> PreTrainedConfig:
    """InternViT-300M is the default tower, with biases."""
    return InternVLConfig(
        vision_config={"attention_bias": True},
        text_config={**text(sizes), "model_type": "qwen3", "head_dim": HEAD},
        tie_word_embeddings=False,
    )


def qwen3_vl(sizes: Sizes) -> PreTrainedConfig:
    depth, width = int(sizes["depth"]), int(sizes["tower"])
    tower = {"depth": depth, "hidden_size": width, "out_hidden_size": int(sizes["hidden"])}
    feed = {} if width == 1152 else {"intermediate_size": 4 * width}
    return Qwen3VLConfig(
        vision_config={**tower, **feed, "deepstack_visual_indexes": DEEPSTACK[depth]},
        text_config={**text(sizes), "model_type": "qwen3_vl_text", "head_dim": HEAD},
        tie_word_embeddings=sizes["tied"] == "1",
    )


FAMILIES: Mapping[str, Callable[[Sizes], PreTrainedConfig]] = {
    "internvl": internvl,
    "qwen3_vl": qwen3_vl,
    "qwen2": qwen2,
    "qwen3": qwen3,
}
