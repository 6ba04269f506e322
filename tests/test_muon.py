import pytest
import torch

from gndpo.muon import Muon, orthogonal


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 4, 16), (2, 16, 4)])
def test_singular_values_come_near_one(shape):
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonal(torch.randn(shape)))
    assert values.max() < 1.25
    assert values[:, 0].min() > 0.65


def test_scale_of_the_gradient_does_not_matter():
    torch.manual_seed(0)
    update = torch.randn(2, 6, 6)
    torch.testing.assert_close(orthogonal(update), orthogonal(1000 * update))


def test_equal_to_torch_up_to_its_bfloat16():
    torch.manual_seed(0)
    ours = [torch.nn.Parameter(torch.randn(shape)) for shape in [(8, 8), (8, 4), (8, 8)]]
    theirs = [torch.nn.Parameter(p.detach().clone()) for p in ours]
    pair = (
        Muon(ours, lr=0.1, weight_decay=0.5),
        torch.optim.Muon(theirs, lr=0.1, weight_decay=0.5, adjust_lr_fn="match_rms_adamw"),
    )
    for _ in range(3):
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.randn_like(a)
            b.grad = a.grad.clone()
        for optimizer in pair:
            optimizer.step()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, atol=0.02, rtol=0)


def test_a_parameter_without_gradient_stays():
    still, moved = (torch.nn.Parameter(torch.ones(3, 3)) for _ in range(2))
    moved.grad = torch.eye(3)
    Muon([still, moved], lr=0.1).step()
    assert still.equal(torch.ones(3, 3))
    assert not moved.equal(torch.ones(3, 3))
