"""The head of a policy: from hidden states to log-probabilities, and its gradient by hand, so that
only a part of either exists at a time."""

import copy
from bisect import bisect_left

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gndpo.models.vocabulary import Vocabulary
from gndpo.rows import ALL, NEVER, Gradients, wide


class Head(nn.Module):
    """hidden [N, H] -> log-probabilities [N, V] in nats, float32 or better, at a temperature,
    over the allowed ids only. softcap: c tanh(logit / c), of the families that have it."""

    forbidden_F: Tensor

    def __init__(
        self,
        linear: nn.Linear,
        vocabulary: Vocabulary,
        temperature: float,
        softcap: float | None = None,
    ) -> None:
        super().__init__()
        self.linear, self.vocabulary = linear, vocabulary
        self.temperature, self.softcap = temperature, softcap
        self.forbidden = sorted(vocabulary.forbidden)
        self.register_buffer("forbidden_F", torch.tensor(self.forbidden).long(), persistent=False)

    @property
    def weights(self) -> tuple[Tensor, ...]:
        """[rows, H], and [rows] where there is a bias; rows beyond the tokenizer's ids included."""
        return tuple(x for x in (self.linear.weight, self.linear.bias) if x is not None)

    def size(self, hidden_NH: Tensor) -> int:
        """V."""
        return self.vocabulary.size

    def logits(self, hidden_NH: Tensor, ids: slice = ALL) -> Tensor:
        """[N, v] of some of the tokenizer's ids, as the model computes them."""
        start, stop, _ = ids.indices(self.vocabulary.size)
        logits_Nv = F.linear(hidden_NH, *(x[start:stop] for x in self.weights))
        logits_Nv = logits_Nv.to(wide(logits_Nv.dtype))
        if self.softcap is not None:
            logits_Nv = self.softcap * (logits_Nv / self.softcap).tanh()
        return logits_Nv

    def unnormalized(self, hidden_NH: Tensor, ids: slice = ALL) -> Tensor:
        """Log-probabilities up to a constant per row, [N, v]."""
        logits_Nv = self.logits(hidden_NH, ids)
        if self.temperature != 1:
            logits_Nv.div_(self.temperature)
        return logits_Nv.index_fill_(-1, self.forbidden_among(ids), NEVER)

    def log_probs(self, hidden_NH: Tensor) -> Tensor:
        return self.unnormalized(hidden_NH).log_softmax(-1)

    def forbidden_among(self, ids: slice) -> Tensor:
        """Where forbidden ids stand among these; filling a few columns is cheaper than a mask."""
        start, stop, _ = ids.indices(self.vocabulary.size)
        first, last = (bisect_left(self.forbidden, i) for i in (start, stop))
        return self.forbidden_F[first:last] - start

    def pull_back(
        self, slope_nv: Tensor, hidden_nH: Tensor, ids: slice, gradients: Gradients
    ) -> None:
        """Add what d loss / d unnormalized, taken over, gives to d loss / d (hidden, *weights)."""
        slope_nv.index_fill_(-1, self.forbidden_among(ids), 0)
        if self.temperature != 1:
            slope_nv.div_(self.temperature)
        if self.softcap is not None:
            slope_nv *= 1 - (self.logits(hidden_nH, ids) / self.softcap).square()
        slope_nv = slope_nv.to(hidden_nH.dtype)
        hidden, weight, bias = (*gradients, None)[:3]
        if hidden is not None:
            add_product(hidden, slope_nv, self.linear.weight[ids])
        if weight is not None:
            add_product(weight[ids], slope_nv.T, hidden_nH)
        if bias is not None:
            bias[ids] += slope_nv.sum(0)

    def frozen(self) -> "Head":
        """The head as it is now. Targets kept as hidden states need it: a live head would move
        them with every update of the step."""
        if not self.linear.weight.requires_grad:
            return self
        return copy.deepcopy(self).requires_grad_(False)


def add_product(total: Tensor, a: Tensor, b: Tensor) -> None:
    """total += a @ b; the product has no room of its own unless the total is of a wider type."""
    if total.dtype == a.dtype:
        total.addmm_(a, b)
    else:
        total += a @ b
