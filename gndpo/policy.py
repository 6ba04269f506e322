"""A policy: a model whose prompts are encoded once per group, and a head (`gndpo.heads`) that gives
forbidden ids no probability."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import CacheLayerMixin

from gndpo.heads import Head
from gndpo.models.features import taken
from gndpo.models.packing import answer_masks, following, in_grid, pack_masks, positions
from gndpo.models.vocabulary import Vocabulary
from gndpo.prompts import Rendering


@dataclass
class Prefix:
    """Encoded prompts, ready for answers: the cache, who is padding, the position of the first
    answer token, and the hidden state that predicts it."""

    cache: DynamicCache
    mask_BL: Tensor
    next_B: Tensor
    last_BH: Tensor

    def repeat(self, group: int) -> "Prefix":
        """G copies of each prompt, side by side. The cache is taken over, not copied."""
        if group > 1:
            self.cache.batch_repeat_interleave(group)
        mask, after, last = (
            x.repeat_interleave(group, dim=0) for x in (self.mask_BL, self.next_B, self.last_BH)
        )
        return Prefix(self.cache, mask, after, last)

    def select(self, rows_b: Tensor) -> "Prefix":
        """Some of the rows. The cache is taken over and cut."""
        self.cache.batch_select_indices(rows_b)
        mask, after, last = (x[rows_b] for x in (self.mask_BL, self.next_B, self.last_BH))
        return Prefix(self.cache, mask, after, last)

    def held(self, layer: Callable[[Any, int], CacheLayerMixin], tokens: int) -> "Prefix":
        """The same in other layers, for at most so many tokens more (`gndpo.models.caches`)."""
        limit = self.mask_BL.shape[1] + tokens
        self.cache.layers = [layer(own, limit) for own in self.cache.layers]
        return self

    def shared(self) -> "Prefix":
        """The same states in a cache that grows on its own: layers replace their tensors and never
        write into them."""
        cache = copy.copy(self.cache)
        cache.layers = [copy.copy(layer) for layer in self.cache.layers]
        return replace(self, cache=cache)


@cache
def compiled() -> Callable[..., Any]:
    """`Policy.read`, compiled: into CUDA graphs on a GPU. Importing the compiler takes seconds."""
    return torch.compile(Policy.read, mode="reduce-overhead")


@contextmanager
def ends_only(backbone: Any) -> Iterator[None]:
    """Within, the last layer's MLP sees the last token of a prompt alone. Of the others nothing but
    keys and values is used, which that layer has made by then; what they get, by broadcasting, is
    read by nobody."""
    mlp = backbone.get_decoder().layers[-1].mlp
    handle = mlp.register_forward_pre_hook(lambda _, given: (given[0][:, -1:], *given[1:]))
    try:
        yield
    finally:
        handle.remove()


class Memory(Protocol):
    """What a policy has read before (`gndpo.encodings`)."""

    def prefix(self, rendering: Rendering) -> Prefix: ...

    def seen(self, rendering: Rendering) -> Rendering: ...


class Policy(nn.Module):
    """A causal (vision-)language model, read as a policy over answer tokens."""

    def __init__(
        self, model: PreTrainedModel, vocabulary: Vocabulary, temperature: float = 1.0
    ) -> None:
        super().__init__()
        self.model = model
        self.vocabulary = vocabulary
        output: Any = model.get_output_embeddings()  # type: ignore[no-untyped-call]
        softcap = getattr(model.config.get_text_config(), "final_logit_softcapping", None)
        self.head = Head(output, vocabulary, temperature, softcap)
        self.memory: Memory | None = None
        self.train(model.training)

    def write_only(self, vocabulary: Vocabulary) -> None:
        """Cut the head to fewer ids."""
        self.vocabulary = vocabulary
        self.head = Head(self.head.linear, vocabulary, self.head.temperature, self.head.softcap)

    @property
    def backbone(self) -> Any:
        return getattr(self.model, self.model.base_model_prefix)

    def read(self, **inputs: Any) -> Any:
        """The backbone's output; every forward goes through here."""
        return self.backbone(**inputs)

    def encode(self, rendering: Rendering) -> Prefix:
        """The P prompts, read now or remembered."""
        return self.prefix(rendering) if self.memory is None else self.memory.prefix(rendering)

    def vision(self, rendering: Rendering) -> dict[str, Any]:
        """What the backbone takes of the images."""
        seen = rendering if self.memory is None else self.memory.seen(rendering)
        return taken(seen.vision)

    def prefix(self, rendering: Rendering) -> Prefix:
        """One forward over the P prompts (and their images). Positions are explicit: left
        padding must not shift them."""
        position_ids = positions(self.backbone, rendering)
        with ends_only(self.backbone):
            out = self.read(
                input_ids=rendering.ids_PL,
                attention_mask=rendering.mask_PL.long(),
                position_ids=position_ids,
                past_key_values=DynamicCache(),
                use_cache=True,
                **self.vision(rendering),
                **rendering.kinds,
            )
        after_P = following(position_ids)
        last_PH = out.last_hidden_state[:, -1]
        return Prefix(out.past_key_values, rendering.mask_PL, after_P, last_PH)

    def advance(self, prefix: Prefix, ids_Bt: Tensor, written: int) -> Tensor:
        """Hidden states [B, t, H] of t further answer tokens, after `written` tokens that the
        cache already holds. One token behind a cache of fixed shape goes through the compiled
        forward; what a CUDA graph gives is overwritten by its next run, therefore copied."""
        t = ids_Bt.shape[1]
        fixed = t == 1 and prefix.cache.is_compileable
        positions_Bt = prefix.next_B[:, None] + written + torch.arange(t, device=ids_Bt.device)
        width = max(prefix.mask_BL.shape[1] + written + t, prefix.cache.get_max_length())
        out = (partial(compiled(), self) if fixed else self.read)(
            input_ids=ids_Bt,
            attention_mask=answer_masks(self.model, prefix.mask_BL, written, t, width),
            position_ids=in_grid(self.backbone, positions_Bt),
            past_key_values=prefix.cache,
            use_cache=True,
        )
        hidden_BtH: Tensor = out.last_hidden_state
        return hidden_BtH.clone() if fixed else hidden_BtH

    def hidden(self, rendering: Rendering, ids_BT: Tensor) -> Tensor:
        """Hidden states [B, T, H] that predict each of the T answer tokens; B = P*G, the G answers
        of a prompt adjacent.

        The prompt is encoded once and its cache shared by the group, with gradients: equal to G
        repeated prompts in value and gradient. Right padding needs no mask: a causal model lets
        no answer token see what follows it.
        """
        if self.training and self.model.is_activation_checkpointing:
            return self.packed(rendering, ids_BT)  # recomputing layers cannot fill a cache
        prefix = self.encode(rendering).repeat(len(ids_BT) // len(rendering.ids_PL))
        first_B1H = prefix.last_BH[:, None]
        if ids_BT.shape[1] == 1:
            return first_B1H
        return torch.cat([first_B1H, self.advance(prefix, ids_BT[:, :-1], written=0)], 1)

    def packed(self, rendering: Rendering, ids_BT: Tensor) -> Tensor:
        """`hidden` without a cache: a prompt and its G answers are one row, and a mask lets every
        answer see its prompt and itself."""
        P, L = rendering.ids_PL.shape
        G, t = len(ids_BT) // P, ids_BT.shape[1] - 1
        position_ids = positions(self.backbone, rendering)
        steps_S = torch.arange(t, device=ids_BT.device).repeat(G)
        after_PS = following(position_ids)[:, None] + steps_S
        whole = torch.cat([position_ids, in_grid(self.backbone, after_PS)], -1)
        out = self.read(
            input_ids=torch.cat([rendering.ids_PL, ids_BT[:, :-1].reshape(P, G * t)], 1),
            attention_mask=pack_masks(self.model, rendering, whole, G, t),
            position_ids=whole,
            use_cache=False,
            **self.vision(rendering),
        )
        prompt_PLH, answers_PSH = out.last_hidden_state.split([L, G * t], 1)
        first_B1H = prompt_PLH[:, -1:].repeat_interleave(G, 0)
        return torch.cat([first_B1H, answers_PSH.reshape(P * G, t, -1)], 1)
