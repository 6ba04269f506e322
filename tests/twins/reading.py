"""The twins as tests read them: model, processor, the inputs of one question with an image."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoProcessor,
    InternVLProcessor,
    Qwen2_5_VLProcessor,
    Qwen3VLProcessor,
)

from twins import VISION

QUESTION = [
    {"role": "system", "content": [{"type": "text", "text": "Think."}]},
    {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Sum?"}]},
]


def without_video(family: type) -> type:
    """A processor that does not ask for its video half, which needs torchvision."""
    names = classmethod(lambda cls: ["image_processor", "tokenizer"])
    return type(family.__name__, (family,), {"get_attributes": names})


PROCESSORS = {
    "internvl": without_video(InternVLProcessor),
    "qwen3_vl": without_video(Qwen3VLProcessor),
    "qwen2_5_vl": without_video(Qwen2_5_VLProcessor),
}


def allowed(policy: Any) -> torch.Tensor:
    """The ids that a policy may write, bool [V]."""
    allowed_V = torch.ones(policy.vocabulary.size, dtype=torch.bool)
    allowed_V[list(policy.vocabulary.forbidden)] = False
    return allowed_V


@dataclass(frozen=True)
class Twin:
    family: str
    folder: Path

    def model(self, **fields: Any) -> Any:
        """fields: of the text configuration or, after "vision_", of the vision configuration."""
        config = AutoConfig.from_pretrained(self.folder)
        for name, value in fields.items():
            vision = name.startswith("vision_")
            part = config.vision_config if vision else config.get_text_config()
            assert hasattr(part, name.removeprefix("vision_"))
            setattr(part, name.removeprefix("vision_"), value)
        sees = self.family in VISION
        auto = AutoModelForImageTextToText if sees else AutoModelForCausalLM
        return auto.from_pretrained(self.folder, config=config).eval()

    def processor(self) -> Any:
        family = PROCESSORS.get(self.family, AutoProcessor)
        return family.from_pretrained(self.folder, backend="pil")

    def inputs(self, image: Image.Image) -> Any:
        processor = self.processor()
        text = processor.apply_chat_template(QUESTION, add_generation_prompt=True, tokenize=False)
        return processor(images=[image], text=[text], return_tensors="pt")

    @torch.no_grad()
    def logp(
        self, image: Image.Image, drop: str = "", in_line: bool = False, **fields: Any
    ) -> torch.Tensor:
        """log pi at every token of the question, [L, V]. in_line: positions count up, image or
        not."""
        inputs = {key: x for key, x in self.inputs(image).items() if key != drop}
        if in_line:
            inputs["position_ids"] = torch.arange(inputs["input_ids"].shape[1])[None]
        return self.model(**fields)(**inputs).logits[0].log_softmax(-1)


def noise(width: int = 32, height: int = 32) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def blank(width: int = 32, height: int = 32) -> Image.Image:
    return Image.new("RGB", (width, height), (128, 128, 128))
