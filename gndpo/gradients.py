"""Norms, clipping and the non-finite guard: what stands between a backward pass and the weights."""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from gndpo.models.parts import PARTS, part_of


def part_norms(module: nn.Module) -> dict[str, float]:
    """L2 norm of the gradient per part and in all; the squares of the parts sum to the square of
    the whole."""
    grads: dict[str, list[Tensor]] = {part: [] for part in PARTS}
    for name, parameter in module.named_parameters():
        if parameter.grad is not None:
            grads[part_of(name)].append(parameter.grad)
    norms = {
        part: float(torch.nn.utils.get_total_norm(xs)) if xs else 0.0 for part, xs in grads.items()
    }
    total = sum(norm**2 for norm in norms.values()) ** 0.5
    return {"grad/norm": total, **{f"grad/norm_{part}": norm for part, norm in norms.items()}}


def clip(parameters: Iterable[nn.Parameter], norm: float, limit: float | None) -> bool:
    """Scale the gradient down to `limit` if its norm is larger; says whether it was."""
    if limit is None or norm <= limit:
        return False
    for parameter in parameters:
        if parameter.grad is not None:
            parameter.grad.mul_(limit / (norm + 1e-6))
    return True


def gradients(module: nn.Module) -> list[Tensor]:
    """Of every trained parameter; zeros where one has none yet."""
    return [
        torch.zeros_like(p) if p.grad is None else p.grad
        for p in module.parameters()
        if p.requires_grad
    ]


def gradient_copy(module: nn.Module) -> list[Tensor]:
    """The gradients as they are now, in main memory: a device may have no room for two."""
    return [g.to("cpu", copy=True) for g in gradients(module)]


def cosine_of_halves(first: Sequence[Tensor], both: Sequence[Tensor]) -> float:
    """cos(g1, g2) from g1 and g1 + g2: near 1 the batch agrees with itself, near 0 the step is
    mostly noise."""
    dot, norm1, norm2 = 0.0, 0.0, 0.0
    for g1, total in zip(first, both, strict=True):
        g1 = g1.to(total.device)
        g2 = total - g1
        dot += float((g1 * g2).sum())
        norm1 += float(g1.square().sum())
        norm2 += float(g2.square().sum())
    return dot / max(math.sqrt(norm1 * norm2), 1e-30)
