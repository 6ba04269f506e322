"""Keys and values of answers while they are written: with room for what follows, or of one shape,
which a compiled forward needs."""

from typing import Any

from torch import Tensor
from transformers.cache_utils import DynamicLayer, StaticLayer


class Growing(DynamicLayer):  # type: ignore[no-untyped-call]
    """Keys and values [B, heads, S, D], the first S tokens of tensors that have room for a quarter
    more, never for more than `limit`: a token is written there, and the others stay where they
    are."""

    keys: Tensor
    values: Tensor

    def __init__(self, layer: Any, limit: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        vars(self).update(vars(layer))
        self.limit, self.room = limit, (self.keys, self.values)

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        S, end = self.keys.shape[2], self.keys.shape[2] + key_states.shape[2]
        if end > self.room[0].shape[2]:
            length = max(end, min(end + end // 4, self.limit))
            self.room = widened(self.keys, length), widened(self.values, length)
        for room, states in zip(self.room, (key_states, value_states), strict=True):
            room[:, :, S:end] = states
        self.keys, self.values = (room[:, :, :end] for room in self.room)
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        super().batch_select_indices(indices)
        self.room = self.keys, self.values


def widened(x_BhSD: Tensor, length: int) -> Tensor:
    """A copy with room for `length` tokens."""
    wide = x_BhSD.new_empty(*x_BhSD.shape[:2], length, x_BhSD.shape[3])
    wide[:, :, : x_BhSD.shape[2]] = x_BhSD
    return wide


def static(layer: Any, limit: int) -> StaticLayer:
    """A copy with `limit` tokens, those to come included: its shape never changes."""
    copied = StaticLayer(limit)
    copied.update(layer.keys, layer.values)
    return copied
