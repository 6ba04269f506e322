"""How a pair reads a prompt: chat template, tokenizer and, for models that see, image processor."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from gndpo.errors import UserError

MARKER = "<image>"
"""Where an image stands in a problem; without markers the images come first."""

FRAMES = (
    "image_token",
    "video_token",
    "boi_token",
    "eoi_token",
    "start_image_token",
    "end_image_token",
    "vision_start_token",
    "vision_end_token",
)
"""What the families call the tokens of an image."""


@dataclass(frozen=True)
class Processor:
    """own: the checkpoint's processor, or the tokenizer of a model that only reads.

    system: the system prompt. chat_template: in place of the checkpoint's own.
    template_arguments, image_arguments: what the template, and the image processor, are told.
    """

    own: Any
    system: str | None = None
    chat_template: str | None = None
    template_arguments: Mapping[str, Any] = field(default_factory=dict)
    image_arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def tokenizer(self) -> Any:
        return getattr(self.own, "tokenizer", self.own)

    @property
    def image_processor(self) -> Any | None:
        return getattr(self.own, "image_processor", None)

    @property
    def pad(self) -> int:
        """The padding id; the end of a turn where a tokenizer has none."""
        pad = self.tokenizer.pad_token_id
        return int(self.tokenizer.eos_token_id if pad is None else pad)

    @property
    def placeholders(self) -> list[str]:
        """Tokens that stand for pixels or frame them."""
        if self.image_processor is None:
            return []
        holders = (self.own, self.tokenizer)
        found = {getattr(holder, name, None) for holder in holders for name in FRAMES}
        ids = getattr(self.own, "image_token_ids", None) or []
        found |= {*self.tokenizer.convert_ids_to_tokens([i for i in ids if i is not None])}
        return sorted(token for token in found if isinstance(token, str))

    def chat(self, text: str, images: int) -> str:
        """One user turn behind the system prompt, generation prompt added; `images` placeholders
        stand where the text has its markers, or in front."""
        if images and self.image_processor is None:
            raise UserError(
                "the model only reads text, and the row has images: use a vision-language model, "
                "or data without images (data.rows.fields.images=null)"
            )
        for token in self.placeholders:
            if token != MARKER and token in text:
                raise UserError(
                    f"the problem spells {token}, which the model reads as part of an image; "
                    f"write {MARKER} where an image stands, or another word"
                )
        turns = [("system", [{"type": "text", "text": self.system}])] if self.system else []
        turns.append(("user", content(text, images)))
        messages = [{"role": role, "content": self.told(parts)} for role, parts in turns]
        chat = self.own.apply_chat_template(
            messages,
            add_generation_prompt=True,
            tokenize=False,
            chat_template=self.chat_template,
            **self.template_arguments,
        )
        return str(chat)

    def told(self, parts: Sequence[Mapping[str, str]]) -> Any:
        """A message's content: parts for models that see, plain text for the others."""
        if self.image_processor is not None:
            return list(parts)
        return "".join(part.get("text", "") for part in parts)

    def encode(self, chat: str, images: Sequence[Image.Image]) -> dict[str, Tensor]:
        """input_ids [1, L] without padding, and what else the model takes; placeholders
        multiplied to the images' features."""
        # A template that begins with the mark of a text's beginning would get it twice.
        begins = self.tokenizer.bos_token
        bare = self.image_processor is None or bool(begins and chat.startswith(begins))
        if images:
            batch = self.own(
                text=[chat],
                images=list(images),
                add_special_tokens=not bare,
                return_tensors="pt",
                **self.image_arguments,
            )
        else:
            batch = self.tokenizer(
                [chat],
                add_special_tokens=not bare,
                return_token_type_ids=False,
                return_tensors="pt",
            )
        return dict(batch)

    def save(self, folder: Path) -> None:
        self.own.save_pretrained(folder)


def content(text: str, images: int) -> list[dict[str, str]]:
    """A user turn's parts in order: images at their markers, or in front of the text."""
    pieces = text.split(MARKER)
    marks = len(pieces) - 1
    if images and marks not in (0, images):
        raise UserError(
            f"the problem has {marks} times {MARKER} and {images} image{'s' * (images > 1)}: give "
            "one marker per image, or none"
        )
    picture = {"type": "image"}
    if not images or not marks:
        said = "".join(pieces) if marks else text
        return [*([picture] * images), {"type": "text", "text": said}]
    parts: list[dict[str, str]] = []
    for i, piece in enumerate(pieces):
        parts += [picture] * (i > 0)
        parts += [{"type": "text", "text": piece}] * bool(piece.strip())
    return parts
