"""Whole distributions at the valid tokens of a batch, a chunk at a time: [B, T, V] never exists."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from gndpo.errors import UserError

NEVER = -1e9
"""Log-probability, in nats, of a forbidden id: finite, so that 0 * log 0 is 0 and differences
stay numbers; exp is exactly 0."""


ALL = slice(None)
"""Every id."""

ELEMENTS = 2**23
"""Numbers of the vocabulary matrix that exist at a time: a copy of 32 MiB in float32, which a
processor's caches and allocator can still reuse."""

WIDTH = 4096
"""Ids whose logits are made, or whose weights learn, at a time."""

Gradients = list[Tensor | None]
"""d loss / d hidden, then d loss / d every weight of the head; None where nothing learns."""


class LogProbs(Protocol):
    """A head: hidden [N, H] -> log-probabilities [N, V]."""

    @property
    def weights(self) -> tuple[Tensor, ...]: ...

    def size(self, hidden_NH: Tensor) -> int: ...

    def unnormalized(self, hidden_NH: Tensor, ids: slice = ALL) -> Tensor: ...

    def log_probs(self, hidden_NH: Tensor) -> Tensor: ...

    def pull_back(
        self, slope_nv: Tensor, hidden_nH: Tensor, ids: slice, gradients: Gradients
    ) -> None: ...

    def frozen(self) -> "LogProbs": ...


class DenseHead:
    """The head of logits that are already there; float32 or better, as every head."""

    weights = ()

    def size(self, hidden_NH: Tensor) -> int:
        return hidden_NH.shape[-1]

    def unnormalized(self, hidden_NH: Tensor, ids: slice = ALL) -> Tensor:
        return hidden_NH[..., ids].to(wide(hidden_NH.dtype))

    def log_probs(self, hidden_NH: Tensor) -> Tensor:
        return self.unnormalized(hidden_NH).log_softmax(-1)

    def pull_back(
        self, slope_nv: Tensor, hidden_nH: Tensor, ids: slice, gradients: Gradients
    ) -> None:
        (hidden,) = gradients
        if hidden is not None:
            hidden[:, ids] += slope_nv

    def frozen(self) -> "DenseHead":
        return self


def wide(dtype: torch.dtype) -> torch.dtype:
    """Float32 or better."""
    return torch.promote_types(dtype, torch.float32)


def rows_at_once(chunk: int | None, V: int) -> int:
    """Rows of logits that exist at a time."""
    return chunk or max(1, ELEMENTS // V)


def slices(length: int, step: int) -> list[slice]:
    """Parts of so many items at most; one, empty, of none."""
    return [slice(i, min(i + step, length)) for i in range(0, max(length, 1), step)]


def zeros(inputs: Sequence[Tensor]) -> Gradients:
    """Room for the gradients of those that learn, in float32 or better."""
    return [x.new_zeros(x.shape, dtype=wide(x.dtype)) if x.requires_grad else None for x in inputs]


@dataclass(frozen=True)
class Rows:
    """Whole distributions at the N valid tokens, kept as hidden states: V/H times smaller than
    logits. chunk: rows of logits at a time (None: ELEMENTS numbers)."""

    hidden_NH: Tensor
    head: LogProbs
    chunk: int | None = None

    def unnormalized(self, index: slice | Tensor = ALL) -> Tensor:
        """Log-probabilities up to a constant per row."""
        return self.head.unnormalized(self.hidden_NH[index])

    def log_probs(self, index: slice | Tensor = ALL) -> Tensor:
        return self.head.log_probs(self.hidden_NH[index])

    @property
    def V(self) -> int:
        return self.head.size(self.hidden_NH)

    def chunks(self) -> list[slice]:
        return slices(len(self.hidden_NH), rows_at_once(self.chunk, self.V))


@dataclass(frozen=True)
class Patchwork:
    """The distributions of several models side by side: the rows of parts[i] are the tokens
    places[i] of all N."""

    parts: tuple[Rows, ...]
    places: tuple[Tensor, ...]
    chunk: int | None = None

    @cached_property
    def size(self) -> int:
        return sum(map(len, self.places))

    @cached_property
    def owner_N(self) -> Tensor:
        owner_N = torch.zeros(self.size, dtype=torch.long, device=self.places[0].device)
        for i, place in enumerate(self.places):
            owner_N[place] = i
        return owner_N

    @cached_property
    def row_N(self) -> Tensor:
        """Which row of its part a token is."""
        row_N = torch.zeros_like(self.owner_N)
        for place in self.places:
            row_N[place] = torch.arange(len(place), device=place.device)
        return row_N

    def unnormalized(self, index: slice | Tensor = ALL) -> Tensor:
        owner_n, row_n = self.owner_N[index], self.row_N[index]
        found = [
            (owner_n == i, part.unnormalized(row_n[owner_n == i]))
            for i, part in enumerate(self.parts)
            if (owner_n == i).any()
        ]
        score_nV = found[0][1].new_zeros(len(owner_n), found[0][1].shape[-1])
        for mine_n, score_mV in found:
            score_nV[mine_n] = score_mV
        return score_nV

    def log_probs(self, index: slice | Tensor = ALL) -> Tensor:
        return self.unnormalized(index).log_softmax(-1)

    def chunks(self) -> list[slice]:
        return slices(self.size, rows_at_once(self.chunk, self.parts[0].V))


Distributions = Rows | Patchwork


def joined(
    blocks: Sequence[Distributions], tokens: Sequence[Tensor], chunk: int | None
) -> Distributions:
    """Blocks of tokens in one; tokens: which of all N those of a block are."""
    heads = {id(block.head) for block in blocks if isinstance(block, Rows)}
    if len(heads) == 1 and all(isinstance(block, Rows) for block in blocks):
        rows = [block for block in blocks if isinstance(block, Rows)]
        hidden_NH = torch.cat([block.hidden_NH for block in rows])
        return Rows(hidden_NH[torch.cat(list(tokens)).argsort()], rows[0].head, chunk)
    parts: list[Rows] = []
    places: list[Tensor] = []
    for block, own in zip(blocks, tokens, strict=True):
        assert isinstance(block, Patchwork)
        parts += block.parts
        places += [own[place] for place in block.places]
    return Patchwork(tuple(parts), tuple(places), chunk)


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
