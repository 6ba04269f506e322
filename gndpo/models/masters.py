"""Float32 copies of weights that are kept in fewer bits: a step of 1e-6 vanishes in bfloat16, whose
neighbours lie 0.4% apart."""

from typing import Any

import torch
from torch import Tensor, nn

from gndpo.models.parts import trained


class Masters:
    """What the optimizer changes in place of the trained weights of a model in bfloat16 or float16.

    Gradients are summed in float32. A step puts the copies in the weights' place, lets the
    optimizer work on them, and leaves them rounded. Weights of float32 or wider need none.
    of: the copies by name.
    """

    def __init__(self, model: nn.Module) -> None:
        self.weights = trained(model)
        self.dtypes = {name: p.dtype for name, p in self.weights.items() if p.dtype.itemsize < 4}
        self.of = {name: self.weights[name].detach().float() for name in self.dtypes}
        for name in self.of:
            self.weights[name].grad_dtype = torch.float32

    def serve(self, optimizer: torch.optim.Optimizer) -> None:
        """Let the optimizer's steps go to the copies."""
        if self.of:
            optimizer.register_step_pre_hook(self.swap_in)
            optimizer.register_step_post_hook(self.swap_out)

    def swap_in(self, *_: Any) -> None:
        for name, master in self.of.items():
            self.weights[name].data = master

    def swap_out(self, *_: Any) -> None:
        for name, master in self.of.items():
            self.weights[name].data = master.to(self.dtypes[name])

    def exact(self) -> dict[str, Tensor]:
        """The trained weights by name, the copies where there are some."""
        return {name: p.detach() for name, p in self.weights.items()} | self.of
