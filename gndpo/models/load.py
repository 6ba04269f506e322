"""Checkpoints from a folder or the Hub: model in evaluation mode, processor without video."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

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


@dataclass(frozen=True)
class Pair:
    """Checkpoints: folders, or names on the Hub."""

    student: str | Path
    teacher: str | Path


class ImageOnlyInternVLProcessor(InternVLProcessor):
    """InternVL's processor without its video half, which would need torchvision."""

    @classmethod
    def get_attributes(cls) -> list[str]:
        return ["image_processor", "tokenizer"]


def load_model(path: str | Path, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """The checkpoint's model, in evaluation mode, in `dtype` whatever it was saved in."""
    read = partial(AutoModelForImageTextToText.from_pretrained, dtype=dtype)
    model, info = load(path, partial(read, output_loading_info=True))
    if info["missing_keys"]:
        missing = ", ".join(sorted(info["missing_keys"])[:3])
        raise UserError(f"cannot load the checkpoint {path}: it has no {missing}")
    assert isinstance(model, PreTrainedModel)
    model.eval()  # type: ignore[no-untyped-call]
    return model


def load_processor(path: str | Path) -> Any:
    """The checkpoint's processor, with PIL image processing."""
    config = load(path, AutoConfig.from_pretrained)
    family = ImageOnlyInternVLProcessor if config.model_type == "internvl" else AutoProcessor
    return load(path, partial(family.from_pretrained, backend="pil"))


def load(path: str | Path, read: Callable[..., Any]) -> Any:
    """What a missing, incomplete or corrupt checkpoint raises, as one sentence."""
    if str(path).startswith(("/", ".", "~")) and not Path(path).is_dir():
        raise UserError(f"cannot load the checkpoint {path}: there is no such folder")
    try:
        return read(path)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = re.split(r"[.\n](?:\s|$)", str(error).strip())[0]
        raise UserError(f"cannot load the checkpoint {path}: {reason}") from error
