"""Checkpoints from a folder or the Hub: model in evaluation mode, processor without video."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    AutoProcessor,
    InternVLProcessor,
    PreTrainedModel,
)

from gndpo.errors import UserError

Loaded = TypeVar("Loaded")


@dataclass(frozen=True)
class Pair:
    """Checkpoints: folders, or names on the Hub."""

    student: str | Path
    teacher: str | Path


class ImageOnlyInternVLProcessor(InternVLProcessor):  # type: ignore[misc]
    """InternVL's processor without its video half, which would need torchvision."""

    @classmethod
    def get_attributes(cls) -> list[str]:
        return ["image_processor", "tokenizer"]


def load_model(path: str | Path, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """The checkpoint's model, in evaluation mode, in `dtype` whatever it was saved in."""
    model, info = load(
        path,
        lambda: AutoModelForImageTextToText.from_pretrained(path, dtype=dtype, output_loading_info=True),
    )
    if info["missing_keys"]:
        raise UserError(f"cannot load the checkpoint {path}: weights are missing, {sorted(info['missing_keys'])[:3]}")
    assert isinstance(model, PreTrainedModel)
    return model.eval()


def load_processor(path: str | Path) -> Any:
    """The checkpoint's processor, with PIL image processing."""
    config = load(path, lambda: AutoConfig.from_pretrained(path))
    family = ImageOnlyInternVLProcessor if config.model_type == "internvl" else AutoProcessor
    return load(path, lambda: family.from_pretrained(path, backend="pil"))


def load(path: str | Path, read: Callable[[], Loaded]) -> Loaded:
    """What a missing, incomplete or corrupt checkpoint raises, as one sentence."""
    if str(path).startswith(("/", ".", "~")) and not Path(path).is_dir():
        raise UserError(f"cannot load the checkpoint {path}: there is no such folder")
    try:
        return read()
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = re.split(r"[.\n](?:\s|$)", str(error).strip())[0]
        raise UserError(f"cannot load the checkpoint {path}: {reason}") from error
