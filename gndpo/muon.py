"""Muon: momentum whose matrices are replaced by their nearest orthogonal ones (Jordan et al., 2024,
https://kellerjordan.github.io/posts/muon/).

torch.optim.Muon is the same rule in bfloat16, one matrix at a time: 12 times slower on a CPU
without bfloat16 arithmetic. Here matrices of one shape go together, in float32.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import Tensor
from torch.nn import Parameter

QUINTIC = (3.4445, -4.7750, 2.0315)
"""Coefficients of the Newton-Schulz step: steep at 0; 5 steps leave singular values in 0.7..1.2."""


def orthogonal(update_NRC: Tensor, steps: int = 5) -> Tensor:
    """[N, R, C] -> the same with all singular values near 1."""
    a, b, c = QUINTIC
    tall = update_NRC.shape[-2] > update_NRC.shape[-1]
    x: Tensor = update_NRC.mT if tall else update_NRC
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp_min(1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """For the matrices of hidden layers. Root mean square of a step: 0.2 lr, about AdamW's."""

    def __init__(
        self,
        params: Iterable[Parameter],
        lr: float,
        *,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        assert closure is None
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Parameter]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape[parameter.shape].append(parameter)
            for parameters in by_shape.values():
                self.update(parameters, group)
        return None

    def update(self, parameters: list[Parameter], group: dict[str, Any]) -> None:
        """Nesterov momentum, orthogonalized, of matrices that share a shape."""
        grads = [p.grad for p in parameters if p.grad is not None]
        states = [self.state[p] for p in parameters]
        moving = [
            state.setdefault("momentum", torch.zeros_like(grad)).lerp_(grad, 1 - group["momentum"])
            for state, grad in zip(states, grads, strict=True)
        ]
        ahead = torch.stack(
            [grad.lerp(m, group["momentum"]) for grad, m in zip(grads, moving, strict=True)]
        )
        scale = 0.2 * group["lr"] * max(ahead.shape[-2:]) ** 0.5
        for parameter, step in zip(parameters, orthogonal(ahead), strict=True):
            parameter.mul_(1 - group["lr"] * group["weight_decay"]).sub_(step, alpha=scale)
