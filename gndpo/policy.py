"""A policy: a model whose prompts are encoded once per group, and a head that gives forbidden
ids no probability."""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import DynamicCache, PreTrainedModel

from gndpo.prompts import Rendering
from gndpo.rows import NEVER


@dataclass(frozen=True)
class Vocabulary:
    """What may be written. size: ids of the tokenizer (head rows beyond are cut off). eos: ids
    that end an answer, first one written by us. forbidden: ids never sampled and left out of
    every softmax (visual placeholders, padding unless an EOS)."""

    size: int
    eos: tuple[int, ...]
    pad: int
    forbidden: tuple[int, ...]

    @staticmethod
    def of(processor: Any, model: PreTrainedModel) -> "Vocabulary":
        tokenizer = processor.tokenizer
        configured = model.generation_config.eos_token_id if model.generation_config else None
        more = configured if isinstance(configured, list) else [configured]
        eos = dict.fromkeys(i for i in (tokenizer.eos_token_id, *more) if i is not None)
        pad = (
            tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
        )
        video = tokenizer.convert_tokens_to_ids(getattr(processor, "video_token", None) or [])
        visual = {
            *getattr(processor, "image_token_ids", []),
            *([video] if isinstance(video, int) else video),
        }
        forbidden = sorted({pad, *visual} - set(eos))
        return Vocabulary(len(tokenizer), tuple(eos), pad, tuple(forbidden))


class Head(nn.Module):
    """hidden [N, H] -> log-probabilities [N, V] in nats, float32 or better, at a temperature,
    over the allowed ids only."""

    allowed_V: Tensor

    def __init__(self, linear: nn.Linear, vocabulary: Vocabulary, temperature: float) -> None:
        super().__init__()
        self.linear = linear
        self.temperature = temperature
        allowed_V = torch.ones(vocabulary.size, dtype=torch.bool)
        allowed_V[list(vocabulary.forbidden)] = False
        self.register_buffer("allowed_V", allowed_V, persistent=False)

    def log_probs(self, hidden_NH: Tensor) -> Tensor:
        V = len(self.allowed_V)
        bias = None if self.linear.bias is None else self.linear.bias[:V]
        logits_NV = F.linear(hidden_NH, self.linear.weight[:V], bias)
        logits_NV = (
            logits_NV.to(torch.promote_types(logits_NV.dtype, torch.float32)) / self.temperature
        )
        return logits_NV.masked_fill(~self.allowed_V, NEVER).log_softmax(-1)

    def frozen(self) -> "Head":
        """The head as it is now. Targets kept as hidden states need it: a live head would move
        them with every update of the step."""
        if not self.linear.weight.requires_grad:
            return self
        return copy.deepcopy(self).requires_grad_(False)


@dataclass
class Prefix:
    """Encoded prompts, ready for answers: the cache, who is padding, and the hidden state that
    predicts the first token."""

    cache: DynamicCache
    mask_BL: Tensor
    length_B: Tensor
    last_BH: Tensor

    def repeat(self, group: int) -> "Prefix":
        """G copies of each prompt, side by side. The cache is taken over, not copied."""
        if group > 1:
            self.cache.batch_repeat_interleave(group)
        mask, length, last = (
            x.repeat_interleave(group, dim=0) for x in (self.mask_BL, self.length_B, self.last_BH)
        )
        return Prefix(self.cache, mask, length, last)


class Policy(nn.Module):
    """A causal (vision-)language model, read as a policy over answer tokens."""

    def __init__(
        self, model: PreTrainedModel, vocabulary: Vocabulary, temperature: float = 1.0
    ) -> None:
        super().__init__()
        self.model = model
        self.vocabulary = vocabulary
        output: Any = model.get_output_embeddings()  # type: ignore[no-untyped-call]
        self.head = Head(output, vocabulary, temperature)

    @property
    def backbone(self) -> nn.Module:
        module = getattr(self.model, self.model.base_model_prefix)
        assert isinstance(module, nn.Module)
        return module

    def encode(self, rendering: Rendering) -> Prefix:
        """One forward over the P prompts (and their images). Positions are explicit: left
        padding must not shift them."""
        mask_PL = rendering.mask_PL
        out = self.backbone(
            input_ids=rendering.ids_PL,
            attention_mask=mask_PL.long(),
            position_ids=(mask_PL.cumsum(-1) - 1).clamp_min(0),
            past_key_values=DynamicCache(),
            use_cache=True,
            **rendering.vision,
        )
        return Prefix(
            out.past_key_values, mask_PL, rendering.length_P, out.last_hidden_state[:, -1]
        )

    def advance(self, prefix: Prefix, ids_Bt: Tensor, written: int) -> Tensor:
        """Hidden states [B, t, H] of t further answer tokens, after `written` tokens that the
        cache already holds."""
        B, t = ids_Bt.shape
        seen = torch.ones(B, written + t, dtype=torch.long, device=ids_Bt.device)
        out = self.backbone(
            input_ids=ids_Bt,
            attention_mask=torch.cat([prefix.mask_BL.long(), seen], 1),
            position_ids=prefix.length_B[:, None] + written + torch.arange(t, device=ids_Bt.device),
            past_key_values=prefix.cache,
            use_cache=True,
        )
        hidden_BtH: Tensor = out.last_hidden_state
        return hidden_BtH

    def hidden(self, rendering: Rendering, ids_BT: Tensor) -> Tensor:
        """Hidden states [B, T, H] that predict each of the T answer tokens; B = P*G, the G answers
        of a prompt adjacent.

        The prompt is encoded once and its cache shared by the group, with gradients: equal to G
        repeated prompts in value and gradient. Right padding needs no mask: a causal model lets
        no answer token see what follows it.
        """
        prefix = self.encode(rendering).repeat(len(ids_BT) // len(rendering.ids_PL))
        first_B1H = prefix.last_BH[:, None]
        if ids_BT.shape[1] == 1:
            return first_B1H
        return torch.cat([first_B1H, self.advance(prefix, ids_BT[:, :-1], written=0)], 1)
