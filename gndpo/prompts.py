"""Rows become token ids: every prompt rendered with its image and without it, pixels computed
once for student and teacher."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gndpo.data.rows import Row
from gndpo.errors import UserError


@dataclass(frozen=True)
class Rendering:
    """P prompts as a model reads them, left-padded to L.

    ids_PL: token ids. length_P: valid tokens per prompt (masks come from lengths, never from
    `ids != pad`). vision: what the vision tower takes, images in prompt order; empty for a
    text-only rendering.
    """

    ids_PL: Tensor
    length_P: Tensor
    vision: Mapping[str, Tensor]

    @property
    def mask_PL(self) -> Tensor:
        L = self.ids_PL.shape[1]
        return torch.arange(L, device=self.ids_PL.device) >= L - self.length_P[:, None]

    def to(self, device: torch.device) -> "Rendering":
        vision = {name: x.to(device) for name, x in self.vision.items()}
        return Rendering(self.ids_PL.to(device), self.length_P.to(device), vision)

    def select(self, start: int, stop: int) -> "Rendering":
        """Prompts start..stop-1; every prompt has the same number of image patches."""
        P = len(self.length_P)
        vision = {
            name: x[start * len(x) // P : stop * len(x) // P] for name, x in self.vision.items()
        }
        return Rendering(self.ids_PL[start:stop], self.length_P[start:stop], vision)


@dataclass(frozen=True)
class Prompts:
    """The P prompts of a step. renderings: "image" as asked, "text" with image and placeholder
    tokens dropped."""

    rows: Sequence[Row]
    texts: Sequence[str]
    renderings: Mapping[str, Rendering]
    dropped: int = 0

    def __len__(self) -> int:
        return len(self.rows)

    def to(self, device: torch.device) -> "Prompts":
        moved = {name: rendering.to(device) for name, rendering in self.renderings.items()}
        return Prompts(self.rows, self.texts, moved, self.dropped)


def make_prompts(
    rows: Sequence[Row], processor: Any, *, max_tokens: int = 2**31, overlong: str = "refuse"
) -> Prompts:
    """Render rows; those longer than `max_tokens` with their image are dropped and counted, or
    refused."""
    texts = [chat_text(row, processor, image=True) for row in rows]
    image = image_rendering(rows, texts, processor)
    keep = (image.length_P <= max_tokens).tolist()
    if not all(keep):
        worst = int(image.length_P.argmax())
        length = int(image.length_P[worst])
        found = f"a prompt has {length} tokens, more than data.max_prompt_tokens={max_tokens}"
        if overlong == "refuse":
            problem = rows[worst]["problem"][:60]
            raise UserError(f"{found} ({problem!r}); raise the limit or set data.overlong=drop")
        kept = [row for row, fits in zip(rows, keep, strict=True) if fits]
        if not kept:
            raise UserError(f"every prompt of this step is too long: {found}; raise the limit")
        short = make_prompts(kept, processor)
        return Prompts(short.rows, short.texts, short.renderings, dropped=len(rows) - len(kept))
    bare = [chat_text(row, processor, image=False) for row in rows]
    return Prompts(rows, texts, {"image": image, "text": text_rendering(bare, processor)})


def chat_text(row: Row, processor: Any, *, image: bool) -> str:
    """The prompt through the processor's chat template, one user turn, generation prompt added."""
    images = [{"type": "image"} for _ in row["images"]] if image else []
    content = [*images, {"type": "text", "text": row["problem"]}]
    text = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
    )
    return str(text)


def image_rendering(rows: Sequence[Row], texts: Sequence[str], processor: Any) -> Rendering:
    images = [image for row in rows for image in row["images"]]
    batch = processor(
        text=list(texts), images=images, padding=True, padding_side="left", return_tensors="pt"
    )
    text_keys = {"input_ids", "attention_mask"}
    vision = {name: x for name, x in batch.items() if name not in text_keys}
    return Rendering(batch["input_ids"], batch["attention_mask"].sum(-1), vision)


def text_rendering(texts: Sequence[str], processor: Any) -> Rendering:
    batch = processor.tokenizer(
        list(texts),
        padding=True,
        padding_side="left",
        return_tensors="pt",
        return_token_type_ids=False,
    )
    return Rendering(batch["input_ids"], batch["attention_mask"].sum(-1), {})
