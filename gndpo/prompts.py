"""Rows become token ids: a prompt can be rendered with its image, without it, with a coarse or a
black one, and in a privileged context; each rendering is made when it is first asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from huggingface_hub.errors import StrictDataclassError
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from gndpo.data.rows import MARKER, Row
from gndpo.data.templates import filled
from gndpo.errors import UserError
from gndpo.models.processor import Pictures, Processor

CPU = torch.device("cpu")
PRIVILEGED = "privileged_"
"""Prefix of a rendering's name: the question stands in the teacher's context."""
KINDS = ("mm_token_type_ids", "token_type_ids")
"""Per token: 1 where it is an image's, in the words of the families that ask."""
PICTURES = ("image", "text", "degraded", "black")
"""What is seen: the image; nothing (image and placeholder tokens dropped, not blanked); the image
made coarse; a black one of the same size."""

MISFITS = (ValueError, TypeError, StopIteration, IndexError, StrictDataclassError)
"""What processors raise when a prompt and its images do not fit together."""


@dataclass(frozen=True)
class Rendering:
    """P prompts as a model reads them, left-padded to L.

    ids_PL: token ids. length_P: valid tokens per prompt (masks come from lengths, never from
    `ids != pad`). images: per prompt what the vision tower takes, {} without image. kinds: per
    token, [P, L], where a family must be told which tokens are an image's.
    """

    ids_PL: Tensor
    length_P: Tensor
    images: tuple[Mapping[str, Tensor], ...]
    kinds: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def mask_PL(self) -> Tensor:
        L = self.ids_PL.shape[1]
        return torch.arange(L, device=self.ids_PL.device) >= L - self.length_P[:, None]

    @property
    def vision(self) -> dict[str, Tensor]:
        """What the vision tower takes, all images in prompt order; {} where there are none."""
        names = dict.fromkeys(name for images in self.images for name in images)
        return {name: self.stacked(name) for name in names}

    def stacked(self, name: str) -> Tensor:
        """One of these, where the ids are."""
        parts = [images[name] for images in self.images if name in images]
        return stacked(parts).to(self.ids_PL.device)

    def to(self, device: torch.device) -> "Rendering":
        """Pixels stay where they are: those of a whole step are gigabytes, a forward takes its
        own."""
        return Rendering(
            self.ids_PL.to(device),
            self.length_P.to(device),
            self.images,
            {name: x.to(device) for name, x in self.kinds.items()},
        )

    def select(self, which: slice | Tensor) -> "Rendering":
        """Some of the prompts; all of them are the rendering itself."""
        everyone = range(len(self.images))
        chosen = list(everyone[which]) if isinstance(which, slice) else which.tolist()
        if chosen == [*everyone]:
            return self
        return Rendering(
            self.ids_PL[which],
            self.length_P[which],
            tuple(self.images[i] for i in chosen),
            {name: x[which] for name, x in self.kinds.items()},
        )

    def narrow(self) -> "Rendering":
        """Without the columns that are padding in every prompt."""
        L = int(self.length_P.max())
        kinds = {name: x[:, -L:] for name, x in self.kinds.items()}
        return Rendering(self.ids_PL[:, -L:], self.length_P, self.images, kinds)


def stacked(parts: Sequence[Tensor]) -> Tensor:
    """Images of several prompts, one below the other; where each has tiles of its own, [images,
    tiles, ...], missing tiles are zeros."""
    tiles = max(x.shape[1] for x in parts)
    if any(x.shape[1] != tiles for x in parts):
        parts = [F.pad(x, [0, 0] * (x.dim() - 2) + [0, tiles - x.shape[1]]) for x in parts]
    return torch.cat(list(parts))


class Renderings(dict[str, Rendering]):
    """Renderings by name, each made when it is first read. texts: the rows as asked, with their
    images. context: the template of the privileged ones; degrade: a coarse image's side, as a
    share of the image's."""

    def __init__(
        self,
        rows: Sequence[Row],
        texts: Sequence[str],
        processor: Processor,
        device: torch.device,
        context: str | None,
        degrade: float,
    ) -> None:
        self.rows, self.texts, self.processor, self.device = rows, texts, processor, device
        self.context, self.degrade = context, degrade

    def __missing__(self, name: str) -> Rendering:
        picture = name.removeprefix(PRIVILEGED)
        images = [
            [drawn(x, picture, self.degrade) for x in row["images"]] if picture != "text" else []
            for row in self.rows
        ]
        encoded = encode(self.processor, self.rows, self.asked(name), images)
        self[name] = left_padded(encoded, self.processor.pad).to(self.device)
        return self[name]

    def asked(self, name: str) -> Sequence[str]:
        """The rows in the rendering's context, with placeholders where it shows images."""
        template = self.context if name.startswith(PRIVILEGED) else None
        seen = name.removeprefix(PRIVILEGED) != "text"
        if seen and template is None:
            return self.texts
        return [chat_text(row, self.processor, image=seen, template=template) for row in self.rows]

    def of(self, kept: Sequence[int]) -> "Renderings":
        """Those of some rows; what is made already is not made again."""
        rows, texts = [self.rows[i] for i in kept], [self.texts[i] for i in kept]
        some = Renderings(rows, texts, self.processor, self.device, self.context, self.degrade)
        some.update({name: x.select(torch.tensor(kept)).narrow() for name, x in self.items()})
        return some


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

    @property
    def length_P(self) -> Tensor:
        """Tokens of a prompt in the longest rendering so far."""
        return torch.stack([x.length_P for x in self.renderings.values()]).amax(0)


def make_prompts(
    rows: Sequence[Row],
    processor: Processor,
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
    kept = (length_P <= max_tokens).nonzero()[:, 0].tolist()
    if len(kept) == len(rows):
        return Prompts(rows, texts, renderings)
    length, row = int(length_P.max()), rows[int(length_P.argmax())]
    where = "" if context is None else ", the teacher's context included"
    found = f"a prompt has {length} tokens{where}, more than data.max_prompt_tokens={max_tokens}"
    if overlong == "refuse":
        named = f"row {row['name']}: {row['problem'][:60]!r}"
        raise UserError(f"{found} ({named}); raise the limit or set data.overlong=drop")
    if not kept:
        raise UserError(f"every prompt of this step is too long: {found}; raise the limit")
    some = renderings.of(kept)
    return Prompts(some.rows, some.texts, some, dropped=len(rows) - len(kept))


def chat_text(row: Row, processor: Processor, *, image: bool, template: str | None = None) -> str:
    """The prompt as the chat template writes it. template: the question's context, with the row's
    columns in braces."""
    text = row["problem"] if template is None else filled(template, row)
    try:
        return processor.chat(text, len(row["images"]) if image else 0)
    except UserError as error:
        raise UserError(f"row {row['name']}: {error}") from error


def drawn(image: Image.Image, picture: str, degrade: float) -> Image.Image:
    """The image as it is, coarse (bilinear down, nearest up: the same size), or black."""
    if picture == "black":
        return Image.new("RGB", image.size)
    if picture == "degraded":
        small = [max(1, round(side * degrade)) for side in image.size]
        coarse = image.resize((small[0], small[1]), Image.Resampling.BILINEAR)
        return coarse.resize(image.size, Image.Resampling.NEAREST)
    return image


def encode(
    processor: Processor, rows: Sequence[Row], texts: Sequence[str], images: Sequence[Pictures]
) -> list[dict[str, Tensor]]:
    """The rows' prompts as ids and pixels, [1, L] each; where one does not fit, it is named."""
    try:
        return processor.encode_all(texts, images)
    except MISFITS as error:
        if len(rows) == 1:
            raise UserError(
                f"row {rows[0]['name']}: its prompt and images do not fit together ({error}); "
                f"check its markers {MARKER}, model.image_arguments and model.chat_template"
            ) from error
        alone = zip(rows, texts, images, strict=True)
        return [encode(processor, [row], [text], [own])[0] for row, text, own in alone]


def left_padded(encoded: Sequence[Mapping[str, Tensor]], pad: int) -> Rendering:
    """Prompts of one row each, [1, L], side by side."""
    length_P = torch.tensor([batch["input_ids"].shape[1] for batch in encoded])
    L = int(length_P.max())

    def padded(name: str, filler: int) -> Tensor:
        rows = [batch.get(name, torch.zeros_like(batch["input_ids"])) for batch in encoded]
        return torch.cat([F.pad(x, [L - x.shape[1], 0], value=filler) for x in rows])

    kinds = [name for name in KINDS if any(name in batch for batch in encoded)]
    plain = {"input_ids", "attention_mask", *KINDS}
    images = tuple({k: x for k, x in batch.items() if k not in plain} for batch in encoded)
    return Rendering(
        padded("input_ids", pad), length_P, images, {name: padded(name, 0) for name in kinds}
    )
