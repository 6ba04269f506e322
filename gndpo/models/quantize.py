"""Fewer bits for a teacher's frozen weights, by libraries that are installed on purpose."""

from importlib.util import find_spec
from typing import Any

from transformers import BitsAndBytesConfig, TorchAoConfig

from gndpo.errors import UserError

LIBRARIES = {
    "torchao_int8": "torchao",
    "bitsandbytes_8bit": "bitsandbytes",
    "bitsandbytes_4bit": "bitsandbytes",
}
"""What each quantization needs. int8: about half the bytes of bfloat16; 4 bit: a quarter."""


def quantization_config(name: str) -> Any:
    """What `from_pretrained` takes; linear layers only, computed in the model's dtype."""
    if name not in LIBRARIES:
        raise UserError(
            f"model.teacher_quantization={name} is unknown; choose {', '.join(LIBRARIES)} or null"
        )
    if find_spec(LIBRARIES[name]) is None:
        raise UserError(
            f"model.teacher_quantization={name} needs {LIBRARIES[name]}; type "
            "pip install 'gndpo[quantization]'"
        )
    if name == "torchao_int8":
        from torchao.quantization import Int8WeightOnlyConfig  # takes seconds to import

        return TorchAoConfig(Int8WeightOnlyConfig())
    bits: dict[str, Any] = {"load_in_8bit": True}
    if name == "bitsandbytes_4bit":
        bits = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
    return BitsAndBytesConfig(**bits)  # type: ignore[no-untyped-call]
