"""Norms, clipping and the non-finite guard: what stands between a backward pass and the weights."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

PARTS = ("vision", "projector", "language")


def part_of(name: str) -> str:
    """Which part a parameter belongs to, by the names that transformers gives its modules."""
    if "multi_modal_projector" in name or "visual.merger" in name:
        return "projector"
    return "vision" if "vision" in name or ".visual." in name else "language"


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


def flat_gradient(module: nn.Module) -> Tensor:
    """All gradients as one vector, a copy; zeros where a parameter has none yet."""
    trained = (p for p in module.parameters() if p.requires_grad)
    return torch.cat(
        [(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in trained]
    )


def cosine_of_halves(first: Tensor, both: Tensor) -> float:
    """cos(g1, g2) from g1 and g1 + g2: near 1 the batch agrees with itself, near 0 the step is
    mostly noise."""
    return float(torch.nn.functional.cosine_similarity(first, both - first, dim=0))
