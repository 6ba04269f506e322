"""What may be written: ids of the tokenizer, the ends of an answer, and what is never sampled."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from transformers import PreTrainedModel

from gndpo.errors import UserError
from gndpo.models.processor import FRAMES, Processor

VISUAL = tuple(f"{token}_{kind}" for token in FRAMES for kind in ("id", "index"))
"""What the families call the ids of pixels and of their frames."""


@dataclass(frozen=True)
class Vocabulary:
    """What may be written. size: ids of the tokenizer (head rows beyond are cut off). eos: ids
    that end an answer, first one written by us. forbidden: ids never sampled and left out of
    every softmax (visual placeholders, ids without a token, padding unless an EOS)."""

    size: int
    eos: tuple[int, ...]
    pad: int
    forbidden: tuple[int, ...]

    @staticmethod
    def of(processor: Processor, model: PreTrainedModel, eos: Sequence[str] | None) -> "Vocabulary":
        """eos: tokens that end an answer; None: the tokenizer's and the model's own."""
        tokenizer = processor.tokenizer
        ids = set(tokenizer.get_vocab().values())
        head: Any = model.get_output_embeddings()  # type: ignore[no-untyped-call]
        size = min(max(ids) + 1, head.weight.shape[0])
        ends = own_ends(processor, model) if eos is None else named_ends(tokenizer, eos)
        pad = processor.pad
        never = {pad, *visual_ids(processor, model)} | (set(range(size)) - ids)
        return Vocabulary(size, ends, pad, tuple(sorted(i for i in never - {*ends} if i < size)))

    def shared_with(self, other: "Vocabulary") -> "Vocabulary":
        """The ids that both can write; what either forbids is forbidden."""
        size = min(self.size, other.size)
        never = sorted({*self.forbidden, *other.forbidden} - {*self.eos})
        ends, forbidden = (tuple(i for i in ids if i < size) for ids in (self.eos, never))
        return replace(self, size=size, eos=ends, forbidden=forbidden)


def own_ends(processor: Processor, model: PreTrainedModel) -> tuple[int, ...]:
    """The ids that end a turn: the one that the chat template writes behind an answer, the
    tokenizer's, those of the model's generation settings."""
    tokenizer = processor.tokenizer
    configured = model.generation_config.eos_token_id if model.generation_config else None
    more = configured if isinstance(configured, list) else [configured]
    ends = [i for i in (tokenizer.eos_token_id, *more) if i is not None]
    names = dict(zip(ends, tokenizer.convert_ids_to_tokens(ends), strict=True))
    written = [i for i in ends if processor.closing.startswith(names[i] or "\0")]
    return tuple(dict.fromkeys([*written, *ends]))


def named_ends(tokenizer: Any, names: Sequence[str]) -> tuple[int, ...]:
    known = tokenizer.get_vocab()
    for name in names:
        if name not in known:
            raise UserError(
                f"model.eos names {name!r}, which is no token of the tokenizer; its own end is "
                f"{tokenizer.eos_token!r}"
            )
    return tuple(known[name] for name in names)


def visual_ids(processor: Processor, model: PreTrainedModel) -> set[int]:
    """Ids that stand for pixels or frame them: a model that writes one cannot be read again."""
    found = set(getattr(processor.own, "image_token_ids", None) or [])
    for holder in (processor.own, processor.tokenizer, model.config):
        found |= {getattr(holder, name, None) for name in VISUAL}
    if "video_token" in vars(processor.own):
        found.add(processor.tokenizer.convert_tokens_to_ids(processor.own.video_token))
    return {i for i in found if isinstance(i, int)}
