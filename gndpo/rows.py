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


ELEMENTS = 2**23
"""Numbers of the vocabulary matrix that exist at a time where nobody says how many rows: 32 MiB,
which caches and allocators can use again."""


def wide(dtype: torch.dtype) -> torch.dtype:
    """Float32 or better."""
    return torch.promote_types(dtype, torch.float32)


class LogProbs(Protocol):
    """hidden [N, H] -> log-probabilities [N, V]. weights: what it learns by."""

    @property
    def weights(self) -> tuple[Tensor, ...]: ...

    def size(self, hidden_NH: Tensor) -> int: ...

    def log_probs(self, hidden_NH: Tensor) -> Tensor: ...

    def frozen(self) -> "LogProbs": ...


class DenseHead:
    """The head of logits that are already there; float32 or better, as every head."""

    weights: tuple[Tensor, ...] = ()

    def size(self, hidden_NH: Tensor) -> int:
        return hidden_NH.shape[-1]

    def log_probs(self, hidden_NH: Tensor) -> Tensor:
        return hidden_NH.to(wide(hidden_NH.dtype)).log_softmax(-1)

    def frozen(self) -> "DenseHead":
        return self


@dataclass(frozen=True)
class Rows:
    """Whole distributions at the N valid tokens, kept as hidden states: V/H times smaller than
    logits. chunk: rows of V that exist at a time (None: ELEMENTS numbers)."""

    hidden_NH: Tensor
    head: LogProbs
    chunk: int | None = None

    def log_probs(self, index: slice | Tensor = slice(None)) -> Tensor:
        return self.head.log_probs(self.hidden_NH[index])

    def chunks(self) -> list[slice]:
        return chunks_of(len(self.hidden_NH), self.chunk, self.head.size(self.hidden_NH))


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

    def log_probs(self, index: slice | Tensor = slice(None)) -> Tensor:
        owner_n, row_n = self.owner_N[index], self.row_N[index]
        found = [
            (owner_n == i, part.log_probs(row_n[owner_n == i]))
            for i, part in enumerate(self.parts)
            if (owner_n == i).any()
        ]
        logp_nV = found[0][1].new_zeros(len(owner_n), found[0][1].shape[-1])
        for mine_n, logp_mV in found:
            logp_nV[mine_n] = logp_mV
        return logp_nV

    def chunks(self) -> list[slice]:
        part = self.parts[0]
        return chunks_of(self.size, self.chunk, part.head.size(part.hidden_NH))


def chunks_of(N: int, chunk: int | None, V: int) -> list[slice]:
    """N rows of V numbers, some at a time."""
    step = rows_at_once(chunk, V)
    return [slice(i, i + step) for i in range(0, N, step)]


def rows_at_once(chunk: int | None, V: int) -> int:
    return chunk or max(1, ELEMENTS // V)


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
