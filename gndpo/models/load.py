"""Checkpoints from a folder or the Hub: a model in evaluation mode, a processor without video."""

import importlib.util
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    InternVLProcessor,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2_5_VLProcessor,
    Qwen2VLProcessor,
    Qwen3VLProcessor,
)

from gndpo.errors import UserError
from gndpo.models.processor import Processor, check_arguments
from gndpo.models.quantize import quantization_config

LAYERS = ("full_attention", "sliding_attention")
ATTENTIONS = ("sdpa", "eager", "flash_attention_2", "flash_attention_3", "flex_attention")


FAILURES = (
    OSError,
    ValueError,
    KeyError,
    AttributeError,
    RuntimeError,
    ImportError,
    SafetensorError,
)
"""What reading an incomplete or foreign checkpoint raises."""


@dataclass(frozen=True)
class Pair:
    """Checkpoints: folders, or names on the Hub, `name@revision` for a fixed state of one."""

    student: str | Path
    teacher: str | Path


class WithoutVideo:
    """A processor's image half alone: the video half would need torchvision."""

    @classmethod
    def get_attributes(cls) -> list[str]:
        return ["image_processor", "tokenizer"]


class ImageOnlyInternVLProcessor(WithoutVideo, InternVLProcessor):
    pass


class ImageOnlyQwen2VLProcessor(WithoutVideo, Qwen2VLProcessor):
    pass


class ImageOnlyQwen25VLProcessor(WithoutVideo, Qwen2_5_VLProcessor):
    pass


class ImageOnlyQwen3VLProcessor(WithoutVideo, Qwen3VLProcessor):
    pass


IMAGE_ONLY: Mapping[str, Any] = {
    "internvl": ImageOnlyInternVLProcessor,
    "qwen2_vl": ImageOnlyQwen2VLProcessor,
    "qwen2_5_vl": ImageOnlyQwen25VLProcessor,
    "qwen3_vl": ImageOnlyQwen3VLProcessor,
    "qwen3_vl_moe": ImageOnlyQwen3VLProcessor,
}
"""By model type; every other family's own processor takes images alone."""


def load_model(
    path: str | Path,
    dtype: torch.dtype = torch.float32,
    *,
    attention: str | None = None,
    quantization: str | None = None,
    remote_code: bool = False,
) -> PreTrainedModel:
    """The checkpoint's model, in evaluation mode, in `dtype` whatever it was saved in.

    attention: how attention is computed; None: what transformers takes. quantization: of the
    weights (`gndpo.models.quantize`); None: none.
    """
    if attention is not None and attention not in ATTENTIONS:
        raise UserError(f"model.attention={attention} is unknown; choose {', '.join(ATTENTIONS)}")
    where = located(path, remote_code)
    config = load(path, AutoConfig.from_pretrained, **where)
    check_layers(path, config)
    more: dict[str, Any] = {} if attention is None else {"attn_implementation": attention}
    if quantization is not None:
        more["quantization_config"] = quantization_config(quantization)
    auto = AutoModelForImageTextToText if sees(config) else AutoModelForCausalLM
    more |= {"use_safetensors": True, "output_loading_info": True}
    model, info = load(path, auto.from_pretrained, dtype=dtype, **where, **more)
    if info["missing_keys"]:
        missing = ", ".join(sorted(info["missing_keys"])[:3])
        raise UserError(f"cannot load the checkpoint {path}: it has no {missing}")
    assert isinstance(model, PreTrainedModel)
    model.eval()  # type: ignore[no-untyped-call]
    return model


def check_layers(path: str | Path, config: PreTrainedConfig) -> None:
    """Layers that fold what came before into a state cannot read several answers behind one prompt;
    they would do so wrongly, without an error."""
    kinds = getattr(config.get_text_config(), "layer_types", None) or ()
    others = sorted({*kinds} - {*LAYERS})
    if others:
        raise UserError(
            f"cannot load the checkpoint {path}: {config.model_type} has layers of "
            f"{', '.join(others)}, and the answers to a prompt share its cache, which works with "
            f"{' and '.join(LAYERS)} alone; use a model of another family"
        )


def sees(config: PreTrainedConfig) -> bool:
    """Whether the checkpoint is a vision-language model."""
    return type(config) in AutoModelForImageTextToText._model_mapping


def load_processor(
    path: str | Path, *, backend: str = "pil", remote_code: bool = False, **options: Any
) -> Processor:
    """The checkpoint's processor; of a model that only reads, its tokenizer.

    backend: of the image processing. options: the fields of `Processor`.
    """
    if backend not in ("pil", "torchvision"):
        raise UserError(f"model.image_backend={backend} is unknown; choose pil or torchvision")
    if backend == "torchvision" and importlib.util.find_spec("torchvision") is None:
        raise UserError(
            "model.image_backend=torchvision needs torchvision, which is not installed; "
            "install it or use model.image_backend=pil"
        )
    where = located(path, remote_code)
    config = load(path, AutoConfig.from_pretrained, **where)
    if sees(config):
        family = IMAGE_ONLY.get(config.model_type, AutoProcessor)
        own = load(path, family.from_pretrained, backend=backend, **where)
    else:
        own = load(path, AutoTokenizer.from_pretrained, **where)
    processor = Processor(own, **options)
    check_arguments(processor)
    return processor


def located(path: str | Path, remote_code: bool) -> dict[str, Any]:
    """Where a checkpoint is found, besides its name."""
    _, revision = named(path)
    return {"trust_remote_code": remote_code} | ({"revision": revision} if revision else {})


def named(path: str | Path | None) -> tuple[str, str | None]:
    """`name@revision` as its two halves; a folder is a name, whatever it is called."""
    if path is None:
        raise UserError(
            "model.pair.student and model.pair.teacher are needed: folders, or names on the Hub"
        )
    name, _, revision = str(path).partition("@")
    return (str(path), None) if Path(path).is_dir() or not revision else (name, revision)


def load(path: str | Path, read: Callable[..., Any], **options: Any) -> Any:
    """What a missing, incomplete or corrupt checkpoint raises, as one sentence."""
    name, _ = named(path)
    if name.startswith(("/", ".", "~")) and not Path(name).is_dir():
        raise UserError(f"cannot load the checkpoint {path}: there is no such folder")
    try:
        return read(name, **options)
    except FAILURES as error:
        reason = re.split(r"[.\n](?:\s|$)", str(error).strip())[0]
        if "trust_remote_code" in str(error):
            reason = (
                "it needs code of its own, which is not run by default; use a checkpoint that "
                "transformers knows (InternVL3.5: the -HF ones), or read that code and set "
                "model.remote_code=true"
            )
        raise UserError(f"cannot load the checkpoint {path}: {reason}") from error
