"""How a pair reads a prompt: chat template, tokenizer and, for models that see, image processor."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jinja2 import TemplateError
from PIL import Image
from torch import Tensor

from gndpo.data.rows import MARKER
from gndpo.errors import UserError

ANSWER = "42"
PER_TOKEN = ("input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids")
Pictures = Sequence[Image.Image]
"""The images of one prompt."""
TOGETHER = 8
"""Prompts per call of a processor: calls are dear, and so is the memory of many images at once."""
UNFILLED = (TemplateError, TypeError, ValueError, ArithmeticError)
"""What a chat template raises that is missing, broken, or not made for the turns it is given."""

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

    @cached_property
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
        try:
            return self.filled(turns, add_generation_prompt=True)
        except UNFILLED as error:
            raise UserError(
                f"the chat template cannot be filled ({str(error).partition(chr(10))[0]}); check "
                "model.chat_template, model.template_arguments and model.system, since some "
                "templates take no system prompt"
            ) from error

    def filled(self, turns: Sequence[tuple[str, Sequence[Mapping[str, str]]]], **told: bool) -> str:
        """The chat template with turns of roles and their parts."""
        messages = [{"role": role, "content": self.told(parts)} for role, parts in turns]
        chat = self.own.apply_chat_template(
            messages,
            tokenize=False,
            chat_template=self.chat_template,
            **told,
            **self.template_arguments,
        )
        return str(chat)

    @cached_property
    def closing(self) -> str:
        """What the chat template writes behind an answer; "" where it takes none."""
        turns = [(role, [{"type": "text", "text": ANSWER}]) for role in ("user", "assistant")]
        try:
            _, found, behind = self.filled(turns).rpartition(ANSWER)
        except UNFILLED:
            return ""
        return behind if found else ""

    def told(self, parts: Sequence[Mapping[str, str]]) -> Any:
        """A message's content: parts for models that see, plain text for the others."""
        if self.image_processor is not None:
            return list(parts)
        return "".join(part.get("text", "") for part in parts)

    def encode(self, chat: str, images: Pictures) -> dict[str, Tensor]:
        """input_ids [1, L] without padding, and what else the model takes; placeholders
        multiplied to the images' features. An end that the tokenizer adds by itself is cut off:
        the answer is still to come."""
        return self.encode_all([chat], [images])[0]

    def encode_all(
        self, chats: Sequence[str], images: Sequence[Pictures]
    ) -> list[dict[str, Tensor]]:
        """`encode` of every prompt; those that are alike go through in one call."""
        alike: dict[Any, list[int]] = defaultdict(list)
        for i, (chat, shown) in enumerate(zip(chats, images, strict=True)):
            alike[self.likeness(chat, shown)].append(i)
        found: dict[int, dict[str, Tensor]] = {}
        parts = [of[i : i + TOGETHER] for of in alike.values() for i in range(0, len(of), TOGETHER)]
        for which in parts:
            part = self.encode_alike([chats[i] for i in which], [images[i] for i in which])
            found.update(zip(which, part, strict=True))
        return [found[i] for i in range(len(chats))]

    def likeness(self, chat: str, images: Pictures) -> tuple[Any, ...]:
        """Prompts that share it begin alike and have equally many placeholders and pixels."""
        marks = [chat.count(token) for token in self.placeholders]
        return (self.begins(chat), *marks, *(image.size for image in images))

    def begins(self, chat: str) -> bool:
        """Whether the template has written the mark of a text's beginning, which the tokenizer
        would write once more."""
        mark = self.tokenizer.bos_token
        return bool(mark and chat.startswith(mark))

    def encode_alike(
        self, chats: Sequence[str], images: Sequence[Pictures]
    ) -> list[dict[str, Tensor]]:
        """`encode` of prompts that are alike: each has the same share of what the images become."""
        special = self.image_processor is not None and not self.begins(chats[0])
        told: dict[str, Any] = {"text": list(chats), "add_special_tokens": special}
        if any(images):
            shown = {**self.image_arguments, "return_tensors": "pt"}
            batch = self.own(images=[list(x) for x in images], images_kwargs=shown, **told)
        else:
            batch = self.tokenizer(**told, return_token_type_ids=False)
        shares = {name: x.chunk(len(chats)) for name, x in batch.items() if name not in PER_TOKEN}
        names = [name for name in PER_TOKEN if name in batch]
        eos, end = self.tokenizer.eos_token_id, self.tokenizer.eos_token
        prompts = []
        for i, (chat, ids) in enumerate(zip(chats, batch["input_ids"], strict=True)):
            stop = -1 if end and ids[-1] == eos and not chat.endswith(end) else None
            tokens = {name: torch.tensor([batch[name][i][:stop]]) for name in names}
            prompts.append(tokens | {name: x[i] for name, x in shares.items()})
        return prompts

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


def check_arguments(processor: Processor) -> None:
    """What template or image processor would ignore is refused."""
    template = processor.chat_template or processor.own.chat_template
    for name in processor.template_arguments:
        if not re.search(rf"\b{re.escape(name)}\b", str(template)):
            raise UserError(
                f"model.template_arguments: the chat template does not ask for '{name}'; leave it "
                "out"
            )
    known = getattr(processor.image_processor, "valid_kwargs", None)
    allowed = [] if known is None else sorted({*known.__annotations__} - {"return_tensors"})
    for name in processor.image_arguments:
        if name not in allowed:
            raise UserError(
                f"model.image_arguments: the image processor does not know '{name}' (it knows "
                f"{', '.join(allowed) or 'nothing, the model only reads text'})"
            )
