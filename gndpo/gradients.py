"""Norms, clipping, sums over ranks: what stands between a backward pass and the weights."""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, distributed, nn
from torch.distributed.tensor import DTensor

from gndpo import ranks
from gndpo.models.parts import PARTS, part_of


def part_norms(module: nn.Module) -> dict[str, float]:
    """L2 norm of the gradient per part and in all; the squares of the parts sum to the square of
    the whole."""
    grads: dict[str, list[Tensor]] = {part: [] for part in PARTS}
    for name, parameter in module.named_parameters():
        if parameter.grad is not None:
            grads[part_of(name)].append(parameter.grad)
    norms = {part: norm_of(xs) for part, xs in grads.items()}
    total = sum(norm**2 for norm in norms.values()) ** 0.5
    return {"grad/norm": total, **{f"grad/norm_{part}": norm for part, norm in norms.items()}}


def norm_of(xs: Sequence[Tensor]) -> float:
    """L2 norm of tensors together, some of which may lie on several ranks."""
    shards = [x for x in xs if isinstance(x, DTensor)]
    norms = [
        float(full(torch.nn.utils.get_total_norm(some)))
        for some in ([x for x in xs if not isinstance(x, DTensor)], shards)
        if some
    ]
    return math.hypot(*norms)


def full(x: Tensor) -> Tensor:
    """The whole of a tensor that lies on several ranks."""
    return x.full_tensor() if isinstance(x, DTensor) else x


def sum_over_ranks(module: nn.Module) -> None:
    """Gradients of weights that every rank has whole: the sum of all ranks' (shards have it
    already). A weight without gradient on every rank keeps none."""
    whole = [p for p in module.parameters() if p.requires_grad and not isinstance(p, DTensor)]
    if ranks.size() == 1 or not whole:
        return
    there = ranks.total(torch.tensor([p.grad is not None for p in whole], dtype=torch.long))
    learning = [p for p, n in zip(whole, there.tolist(), strict=True) if n]
    for p in learning:
        p.grad = torch.zeros_like(p) if p.grad is None else p.grad
    waiting = [distributed.all_reduce(p.grad, async_op=True) for p in learning]
    for work in waiting:
        work.wait()


def summed(copies: Sequence[Tensor]) -> list[Tensor]:
    """Copies of gradients, added up over the ranks like them."""
    return [g if isinstance(g, DTensor) else ranks.total(g) for g in copies]


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
        dot += float(full((g1 * g2).sum()))
        norm1 += float(full(g1.square().sum()))
        norm2 += float(full(g2.square().sum()))
    return dot / max(math.sqrt(norm1 * norm2), 1e-30)


def scaled_rate(optimizer: torch.optim.Optimizer, scale: float) -> float:
    """Set the learning rate of every parameter group to `scale` times what it began with."""
    for group in optimizer.param_groups:
        group["lr"] = group.setdefault("initial_lr", group["lr"]) * scale
    return float(optimizer.param_groups[0]["lr"])
