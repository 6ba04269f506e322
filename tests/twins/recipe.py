"""What a checkpoint folder is made of, and how it is written."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedConfig, PreTrainedModel

CLIP_MEAN = [0.48145466, 0.4578275, 0.40821073]
CLIP_STD = [0.26862954, 0.26130258, 0.27577711]


@dataclass(frozen=True)
class Size:
    """vocabulary: rows of the head; None: some more than the tokenizer has ids."""

    layers: int
    hidden: int
    vocabulary: int | None = None

    def text(self, tokenizer: Any, **fields: Any) -> dict[str, Any]:
        """Fields that the language models share: heads of 16, one key-value head."""
        return {
            "vocab_size": self.vocabulary or (len(tokenizer) // 32 + 1) * 32,
            "hidden_size": self.hidden,
            "intermediate_size": 2 * self.hidden,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.hidden // 16,
            "num_key_value_heads": 1,
            "max_position_embeddings": 4096,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            **fields,
        }


@dataclass(frozen=True)
class Recipe:
    """tokenizer: with its chat template. generation: generation_config.json. files: further JSON
    files by name, in the form in which repositories have them."""

    model: type[PreTrainedModel]
    config: PreTrainedConfig
    tokenizer: Any
    generation: Mapping[str, Any]
    files: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def write(
        self, folder: Path, *, seed: int, dtype: torch.dtype, initializer_range: float
    ) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = self.model(self.config)
            randomize(model, initializer_range)
        model.generation_config = GenerationConfig(**self.generation)
        model.to(dtype).save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        for name, content in self.files.items():
            (folder / name).write_text(json.dumps(content, indent=2) + "\n")


@torch.no_grad()
def randomize(model: PreTrainedModel, std: float) -> None:
    """Every matrix and every bias: some classes begin with zeros, under which images or positions
    would not count. Norms stay 1."""
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1 or name.endswith("bias"):
            parameter.normal_(std=std)


def token_id(tokenizer: Any, token: str) -> int:
    return int(tokenizer.convert_tokens_to_ids(token))
