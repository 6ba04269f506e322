"""Norms per part, the clip, and the guard that keeps a weight from ever becoming NaN."""

import pytest
import torch
from torch import nn

from gndpo.gradients import clip, cosine_of_halves, gradient_copy, gradients, part_norms
from gndpo.models.parts import part_of
from gndpo.update import apply


class Parts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.vision_tower = nn.Linear(1, 1, bias=False)
        self.multi_modal_projector = nn.Linear(1, 1, bias=False)
        self.language_model = nn.Linear(1, 1, bias=False)
        for parameter, gradient in zip(self.parameters(), (1.0, 2.0, 2.0), strict=True):
            parameter.grad = torch.full_like(parameter, gradient)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("model.vision_tower.encoder.layer.0.weight", "vision"),
        ("model.multi_modal_projector.linear_1.weight", "projector"),
        ("model.visual.blocks.0.attn.weight", "vision"),
        ("model.visual.merger.weight", "projector"),
        ("model.language_model.layers.0.weight", "language"),
        ("lm_head.weight", "language"),
    ],
)
def test_where_a_parameter_belongs(name: str, part: str) -> None:
    assert part_of(name) == part


def test_norms_of_the_parts() -> None:
    assert part_norms(Parts()) == pytest.approx(
        {"grad/norm": 3, "grad/norm_vision": 1, "grad/norm_projector": 2, "grad/norm_language": 2}
    )


@pytest.mark.parametrize(
    ("limit", "clipped", "norm"), [(None, False, 3), (4, False, 3), (1.5, True, 1.5)]
)
def test_the_clip(limit: float | None, clipped: bool, norm: float) -> None:
    module = Parts()
    assert clip(module.parameters(), 3.0, limit) is clipped
    assert float(torch.cat(gradients(module)).norm()) == pytest.approx(norm, rel=1e-5)


def test_cosine_of_halves_by_hand() -> None:
    """(1, 0) and (1, 1), each spread over two parameters."""
    first, second = [[torch.tensor([[x]]), torch.tensor([y])] for x, y in ((1.0, 0.0), (1.0, 1.0))]
    both = [a + b for a, b in zip(first, second, strict=True)]
    assert cosine_of_halves(first, both) == pytest.approx(2**-0.5)
    assert cosine_of_halves(first, [2 * a for a in first]) == pytest.approx(1)


def test_gradients_are_those_of_what_trains_and_a_copy_keeps_them() -> None:
    module = Parts()
    module.vision_tower.weight.requires_grad_(False)
    module.language_model.weight.grad = None
    assert [g.item() for g in gradients(module)] == [2.0, 0.0]
    kept = gradient_copy(module)
    module.multi_modal_projector.weight.grad.mul_(5)
    assert [g.item() for g in kept] == [2.0, 0.0]
    assert [g.item() for g in gradients(module)] == [10.0, 0.0]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_changes_no_weight_and_is_counted(value: float) -> None:
    module = Parts()
    module.language_model.weight.grad.fill_(value)
    optimizer = torch.optim.SGD(module.parameters(), lr=1.0)
    before = [p.clone() for p in module.parameters()]
    row = apply(module, optimizer, clip_norm=1.0)
    assert row["grad/skipped"] == 1
    assert row["grad/clipped"] == 0
    assert all(torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))
