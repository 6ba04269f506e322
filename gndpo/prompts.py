"""Rows become token ids: a prompt can be rendered with its image, without it, with a coarse or a
black one, and in a privileged context; each rendering is made when it is first asked for."""

import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from gndpo.data.rows import Row
from gndpo.errors import UserError

CPU = torch.device("cpu")
PRIVILEGED = "privileged_"
"""Prefix of a rendering's name: the question stands in the teacher's context."""
PICTURES = ("image", "text", "degraded", "black")
"""What is seen: the image; nothing (image and placeholder tokens dropped, not blanked); the image
made coarse; a black one of the same size."""


@dataclass(frozen=True)
class Rendering:
    """P prompts as a model reads them, left-padded to L.

    ids_PL: token ids. length_P: valid tokens per prompt (masks come from lengths, never from
    `ids != pad`). vision: what the vision tower takes, images in prompt order; empty for a
    text-only rendering.
    """

    ids_PL: Tensor
    length_P: Tensor
    vision: dict[str, Tensor]

    @property
    def mask_PL(self) -> Tensor:
        L = self.ids_PL.shape[1]
        return torch.arange(L, device=self.ids_PL.device) >= L - self.length_P[:, None]

    def to(self, device: torch.device) -> "Rendering":
        vision = {name: x.to(device) for name, x in self.vision.items()}
        return Rendering(self.ids_PL.to(device), self.length_P.to(device), vision)

    def select(self, which: slice | Tensor) -> "Rendering":
        """Some of the prompts; every prompt has the same number of image patches."""
        P = len(self.length_P)
        vision = {
            name: x.reshape(P, len(x) // P, *x.shape[1:])[which].flatten(0, 1)
            for name, x in self.vision.items()
        }
        return Rendering(self.ids_PL[which], self.length_P[which], vision)


class Renderings(dict[str, Rendering]):
    """Renderings by name, each made when it is first read. texts: the rows as asked, with their
    images. context: the template of the privileged ones; degrade: a coarse image's side, as a
    share of the image's."""

    def __init__(
        self,
        rows: Sequence[Row],
        texts: Sequence[str],
        processor: Any,
        device: torch.device,
        context: str | None,
        degrade: float,
    ) -> None:
        self.rows, self.texts, self.processor, self.device = rows, texts, processor, device
        self.context, self.degrade = context, degrade

    def __missing__(self, name: str) -> Rendering:
        template = self.context if name.startswith(PRIVILEGED) else None
        picture = name.removeprefix(PRIVILEGED)
        texts = self.texts
        if template is not None or picture == "text":
            texts = [
                chat_text(row, self.processor, image=picture != "text", template=template)
                for row in self.rows
            ]
        if picture == "text":
            rendering = text_rendering(texts, self.processor)
        else:
            images = [drawn(x, picture, self.degrade) for row in self.rows for x in row["images"]]
            rendering = image_rendering(texts, images, self.processor)
        self[name] = rendering.to(self.device)
        return self[name]


@dataclass(frozen=True)
class Prompts:
    """The P prompts of a step. texts: as asked, image placeholders included. dropped: rows that
    were too long."""

    rows: Sequence[Row]
    texts: Sequence[str]
    renderings: dict[str, Rendering]
    dropped: int = 0

    def __len__(self) -> int:
        return len(self.rows)


def make_prompts(
    rows: Sequence[Row],
    processor: Any,
    *,
    max_tokens: int | None = None,
    overlong: str = "refuse",
    device: torch.device = CPU,
    context: str | None = None,
    degrade: float = 0.1,
) -> Prompts:
    """Rows ready to be rendered; those longer than `max_tokens`, with their image and context, are
    dropped and counted, or refused."""
    texts = [chat_text(row, processor, image=True) for row in rows]
    renderings = Renderings(rows, texts, processor, device, context, degrade)
    if max_tokens is None:
        return Prompts(rows, texts, renderings)
    length_P = renderings["image"].length_P
    if context is not None:
        length_P = torch.maximum(length_P, renderings[f"{PRIVILEGED}image"].length_P)
    keep = (length_P <= max_tokens).tolist()
    if not all(keep):
        worst = int(length_P.argmax())
        length = int(length_P[worst])
        where = "" if context is None else ", the teacher's context included"
        found = (
            f"a prompt has {length} tokens{where}, more than data.max_prompt_tokens={max_tokens}"
        )
        if overlong == "refuse":
            problem = rows[worst]["problem"][:60]
            raise UserError(f"{found} ({problem!r}); raise the limit or set data.overlong=drop")
        kept = [row for row, fits in zip(rows, keep, strict=True) if fits]
        if not kept:
            raise UserError(f"every prompt of this step is too long: {found}; raise the limit")
        short = make_prompts(kept, processor, device=device, context=context, degrade=degrade)
        return Prompts(short.rows, short.texts, short.renderings, dropped=len(rows) - len(kept))
    return Prompts(rows, texts, renderings)


def chat_text(row: Row, processor: Any, *, image: bool, template: str | None = None) -> str:
    """The prompt through the processor's chat template, one user turn, generation prompt added.
    template: the question's context, with the row's columns in braces."""
    images = [{"type": "image"} for _ in row["images"]] if image else []
    text = row["problem"] if template is None else filled(template, row)
    content = [*images, {"type": "text", "text": text}]
    chat = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
    )
    return str(chat)


def filled(template: str, row: Row) -> str:
    """The template with a row's columns in place of their names."""
    columns = columns_of(row)
    try:
        for _, name, _, _ in string.Formatter().parse(template):
            if name is not None and name not in columns:
                raise UserError(
                    f"the template {template!r} names the column '{name}', the data has "
                    f"{', '.join(sorted(columns))}"
                )
        return template.format(**columns)
    except (KeyError, ValueError) as error:
        raise UserError(
            f"the template {template!r} cannot be read ({error}); write braces that are not a "
            "column's twice"
        ) from error


def columns_of(row: Row) -> dict[str, str]:
    """Everything that a template, or the choice of a teacher, may name."""
    plain = {
        "problem": row["problem"],
        "answer": row["answer"],
        "solution": row["solution"],
        "kind": row["kind"],
    }
    return plain | row["fields"]


def drawn(image: Image.Image, picture: str, degrade: float) -> Image.Image:
    """The image as it is, coarse (bilinear down, nearest up: the same size), or black."""
    if picture == "black":
        return Image.new("RGB", image.size)
    if picture == "degraded":
        small = [max(1, round(side * degrade)) for side in image.size]
        coarse = image.resize((small[0], small[1]), Image.Resampling.BILINEAR)
        return coarse.resize(image.size, Image.Resampling.NEAREST)
    return image


def image_rendering(
    texts: Sequence[str], images: Sequence[Image.Image], processor: Any
) -> Rendering:
    batch = processor(
        text=list(texts),
        images=list(images),
        padding=True,
        padding_side="left",
        return_tensors="pt",
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
