"""Whole distributions at the valid tokens of a batch, a chunk at a time: [B, T, V] never exists."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from gndpo.errors import UserError

NEVER = -1e9
"""Log-probability, in nats, of a forbidden id: finite, so that 0 * log 0 is 0 and differences
stay numbers; exp is exactly 0."""


class LogProbs(Protocol):
    """hidden [N, H] -> log-probabilities [N, V]."""

    def log_probs(self, hidden_NH: Tensor) -> Tensor: ...


class DenseHead:
    """The head of logits that are already there; float32 or better, as every head."""

    def log_probs(self, hidden_NH: Tensor) -> Tensor:
        return hidden_NH.to(torch.promote_types(hidden_NH.dtype, torch.float32)).log_softmax(-1)


@dataclass(frozen=True)
class Rows:
    """Whole distributions at the N valid tokens, kept as hidden states: V/H times smaller than
    logits."""

    hidden_NH: Tensor
    head: LogProbs
    chunk: int = 4096

    def log_probs(self, index: slice | Tensor = slice(None)) -> Tensor:
        return self.head.log_probs(self.hidden_NH[index])

    def chunks(self) -> list[slice]:
        return [slice(i, i + self.chunk) for i in range(0, len(self.hidden_NH), self.chunk)]


def likeliest(logp_NV: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest values and their ids; a k that the vocabulary cannot give is refused."""
    V = logp_NV.shape[-1]
    if not 1 <= k <= V:
        raise UserError(f"k={k} likeliest ids are asked for; choose 1 to {V}, the vocabulary")
    values_NK, ids_NK = logp_NV.topk(k)
    return values_NK, ids_NK


def scatter(x_N: Tensor, mask_BT: Tensor) -> Tensor:
    """Valid values [N, ...] back to [B, T, ...], exact zeros at padding."""
    out = x_N.new_zeros(*mask_BT.shape, *x_N.shape[1:])
    out[mask_BT] = x_N
    return out
