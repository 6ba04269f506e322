"""True shapes of published checkpoints, built on the meta device: no weights, no memory.

Widths and depths are those of each checkpoint's config.json; what is not given here is the default
of the installed transformers, which is that checkpoint's value too. `billions` is the number of
weights that the checkpoint stores.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    Gemma3Config,
    InternVLConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3VLConfig,
)

VISUAL = {"depth": 24, "hidden_size": 1024, "intermediate_size": 4096}
"""Qwen3-VL-2B and -4B; -8B has the defaults."""


def qwen3(hidden: int, wide: int, layers: int, heads: int, tied: bool) -> dict[str, Any]:
    """Qwen3's language model: 8 key heads of 128 in every size."""
    return {
        "model_type": "qwen3",
        "vocab_size": 151936,
        "hidden_size": hidden,
        "intermediate_size": wide,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "tie_word_embeddings": tied,
    }


def internvl(**text: Any) -> PreTrainedConfig:
    """InternViT-300M is the default vision_config, with biases. The repositories store a head of
    its own in every size (1B: 1.061 billion weights, 0.752 of them the language model's)."""
    return InternVLConfig(
        vision_config={"attention_bias": True},
        text_config=qwen3(**text, tied=False),
        tie_word_embeddings=False,
    )


def qwen3_vl(visual: Mapping[str, Any], tied: bool, **text: Any) -> PreTrainedConfig:
    width = text["hidden"]
    indexes = {"deepstack_visual_indexes": [5, 11, 17]} if visual else {}
    return Qwen3VLConfig(
        vision_config={**visual, **indexes, "out_hidden_size": width},
        text_config=qwen3(**text, tied=tied) | {"model_type": "qwen3_vl_text"},
        tie_word_embeddings=tied,
    )


def qwen2(hidden: int, wide: int, heads: int, keys: int, ids: int) -> PreTrainedConfig:
    return Qwen2Config(
        vocab_size=ids,
        hidden_size=hidden,
        intermediate_size=wide,
        num_hidden_layers=28,
        num_attention_heads=heads,
        num_key_value_heads=keys,
        tie_word_embeddings=False,
    )


def gemma3_4b() -> PreTrainedConfig:
    return Gemma3Config(
        text_config={
            "hidden_size": 2560,
            "intermediate_size": 10240,
            "num_hidden_layers": 34,
            "num_attention_heads": 8,
            "num_key_value_heads": 4,
            "sliding_window": 1024,
        },
        vision_config={
            "hidden_size": 1152,
            "intermediate_size": 4304,
            "num_hidden_layers": 27,
            "num_attention_heads": 16,
            "image_size": 896,
            "patch_size": 14,
            "vision_use_head": False,
        },
    )


@dataclass(frozen=True)
class Checkpoint:
    """prompt: its tokens with one image; patches: what the tower reads for it."""

    billions: float
    config: Callable[[], PreTrainedConfig]
    prompt: int
    patches: int


SMALL = {"hidden": 1024, "wide": 3072, "layers": 28, "heads": 16}
MIDDLE = {"hidden": 2048, "wide": 6144, "layers": 28, "heads": 16}
LARGE = {"hidden": 2560, "wide": 9728, "layers": 36, "heads": 32}
LARGEST = {"hidden": 4096, "wide": 12288, "layers": 36, "heads": 32}
TILE = {"prompt": 400, "patches": 1025}  # one tile of 448 x 448: 256 image tokens
MEGAPIXEL = {"prompt": 1200, "patches": 4096}  # 1024 x 1024: 1024 image tokens

CHECKPOINTS: Mapping[str, Checkpoint] = {
    "InternVL3.5-1B": Checkpoint(1.06, lambda: internvl(**SMALL), **TILE),
    "InternVL3.5-2B": Checkpoint(2.35, lambda: internvl(**MIDDLE), **TILE),
    "InternVL3.5-4B": Checkpoint(4.73, lambda: internvl(**LARGE), **TILE),
    "InternVL3.5-8B": Checkpoint(8.53, lambda: internvl(**LARGEST), **TILE),
    "Qwen3-VL-2B": Checkpoint(2.13, lambda: qwen3_vl(VISUAL, True, **MIDDLE), **MEGAPIXEL),
    "Qwen3-VL-4B": Checkpoint(4.44, lambda: qwen3_vl(VISUAL, True, **LARGE), **MEGAPIXEL),
    "Qwen3-VL-8B": Checkpoint(8.77, lambda: qwen3_vl({}, False, **LARGEST), **MEGAPIXEL),
    "R1-Distill-Qwen-1.5B": Checkpoint(1.78, lambda: qwen2(1536, 8960, 12, 2, 151936), 300, 0),
    "Qwen2.5-Math-7B": Checkpoint(7.62, lambda: qwen2(3584, 18944, 28, 4, 152064), 300, 0),
    "Gemma3-4B": Checkpoint(4.3, gemma3_4b, 400, 4096),
}


def build(name: str) -> PreTrainedModel:
    """In bfloat16, on the meta device; its size must be the published one."""
    checkpoint = CHECKPOINTS[name]
    config = checkpoint.config()
    auto = AutoModelForImageTextToText if checkpoint.patches else AutoModelForCausalLM
    with torch.device("meta"):
        model: PreTrainedModel = auto.from_config(config, dtype=torch.bfloat16)
    count = sum(p.numel() for p in model.parameters()) / 1e9
    assert abs(count / checkpoint.billions - 1) < 0.03, (name, count, checkpoint.billions)
    return model.eval()
