"""Float32 copies of trained weights in bfloat16: small steps add up, and a run continues
bitwise."""

import pytest
import torch
from torch import nn

from gndpo import checkpoints
from gndpo.models.masters import Masters
from gndpo.models.parts import trained
from tests.models import conftest as models

families = models.families
STEPS = 200


def layer(dtype=torch.bfloat16):
    """Weights of 1, whose neighbours in bfloat16 are 0.4% away."""
    linear = nn.Linear(4, 3, bias=False, dtype=dtype)
    nn.init.ones_(linear.weight)
    return linear


def optimize(model, lr, kind, masters):
    """An optimizer, and the copies it works on: none where `masters` is False."""
    optimizer = kind(trained(model).values(), lr=lr)
    copies = Masters(model)
    if masters:
        copies.serve(optimizer)
    return optimizer, copies


def step(model, optimizer, times=1):
    """Every weight has gradient 1."""
    for _ in range(times):
        optimizer.zero_grad()
        model(torch.ones(1, 4, dtype=torch.bfloat16)).sum().backward()
        optimizer.step()


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW, torch.optim.Adam])
def test_steps_of_1e_6_add_up_only_with_copies(kind):
    """200 steps of 1e-6 vanish one by one in bfloat16; the copies move by 2e-4."""
    plain, kept = layer(), layer()
    bare = kind(plain.parameters(), lr=1e-6)
    optimizer, copies = optimize(kept, 1e-6, kind, masters=True)
    step(plain, bare, STEPS)
    step(kept, optimizer, STEPS)
    assert (plain.weight == 1).all()
    moved = 1 - copies.exact()["weight"].double()
    torch.testing.assert_close(moved, torch.full_like(moved, STEPS * 1e-6), rtol=0.05, atol=0)
    assert (kept.weight == 1).all()  # not yet half way to the neighbour


def test_the_weights_follow_once_it_is_a_step_for_them():
    """200 steps of 1e-4 are 2% of a weight, each a fortieth of the distance to its neighbour."""
    plain, kept = layer(), layer()
    step(plain, torch.optim.SGD(plain.parameters(), lr=1e-4), STEPS)
    optimizer, _ = optimize(kept, 1e-4, torch.optim.SGD, masters=True)
    step(kept, optimizer, STEPS)
    assert (plain.weight == 1).all()
    assert (kept.weight == torch.tensor(0.98, dtype=torch.bfloat16)).all()
    assert kept.weight.dtype == torch.bfloat16


def test_gradients_are_summed_in_float32():
    """1 + 2^-10 is 1 in bfloat16."""
    sums = []
    for masters in (False, True):
        model = layer()
        if masters:
            Masters(model)
        for value in (1.0, 2.0**-10):
            model(torch.full((1, 4), value, dtype=torch.bfloat16)).sum().backward()
        sums.append(model.weight.grad)
    assert (sums[0] == 1).all()
    assert (sums[1] == 1 + 2.0**-10).all()
    assert sums[1].dtype == torch.float32


def test_state_of_the_optimizer_is_float32():
    model = layer()
    optimizer, _ = optimize(model, 1e-3, torch.optim.AdamW, masters=True)
    step(model, optimizer)
    state = optimizer.state[model.weight]
    assert {state[name].dtype for name in ("exp_avg", "exp_avg_sq")} == {torch.float32}


def test_only_what_learns_and_is_narrow_has_a_copy():
    """An adapter in float32 beside frozen weights, a trained part in bfloat16."""
    model = nn.ModuleDict(
        {"frozen": layer().requires_grad_(False), "wide": layer(torch.float), "narrow": layer()}
    )
    copies = Masters(model)
    assert copies.of.keys() == {"narrow.weight"}
    assert copies.exact().keys() == {"wide.weight", "narrow.weight"}
    assert {name: x.dtype for name, x in copies.exact().items()} == {
        "wide.weight": torch.float32,
        "narrow.weight": torch.float32,
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_wide_weights_are_trained_as_they_are(dtype):
    def run(serve):
        model = layer(dtype)
        optimizer, copies = optimize(model, 0.1, torch.optim.AdamW, masters=serve)
        for value in (1.0, -2.0, 0.5):
            optimizer.zero_grad()
            model(torch.full((1, 4), value, dtype=dtype)).sum().backward()
            optimizer.step()
        return model, copies

    (plain, _), (served, copies) = run(False), run(True)
    assert torch.equal(plain.weight, served.weight)
    assert copies.of == {}
    exact = copies.exact()["weight"]
    assert exact.dtype == dtype
    assert exact.data_ptr() == served.weight.data_ptr()


class Run:
    """A tiny bfloat16 model in training: AdamW, lr 1e-6 beside larger steps."""

    ids = torch.tensor([[5, 9, 30, 12, 77, 8], [40, 41, 7, 7, 100, 3]])

    def __init__(self, folder, saved=None):
        self.model = models.load_model(folder, torch.bfloat16)
        if saved is not None:
            checkpoints.load_weights(saved, trained(self.model))
        self.optimizer, self.masters = optimize(self.model, 1e-6, torch.optim.AdamW, masters=True)
        if saved is not None:
            checkpoints.load_weights(saved, self.masters.of)
            checkpoints.load_optimizer(saved, self.model, self.optimizer)

    def go(self, steps):
        for i in range(steps):
            self.optimizer.zero_grad()
            for row in self.ids:  # two microbatches
                self.model(row[None], labels=row[None]).loss.backward()
            self.optimizer.param_groups[0]["lr"] = (1e-6, 3e-4)[i % 2]
            self.optimizer.step()
        return self

    def save(self, folder):
        states = checkpoints.optimizer_tensors(self.model, self.optimizer)
        return checkpoints.save(folder, 1, self.masters.exact(), states, {}, {}, {})


@pytest.mark.parametrize("family", ["text", "text_qwen3"])  # an own head, a tied one
def test_a_run_continues_bitwise(families, family, tmp_path):
    folder = families(family).student
    run = Run(folder).go(4)
    saved = run.save(tmp_path)
    again = Run(folder, saved)
    for part in (run, again):
        for name, p in part.model.named_parameters():
            assert p.dtype == torch.bfloat16
            assert torch.equal(part.masters.exact()[name].bfloat16(), p), name
    run.go(4)
    again.go(4)
    start = dict(models.load_model(folder).named_parameters())
    for name, x in run.masters.exact().items():
        assert torch.equal(again.masters.exact()[name], x), name
        assert x.dtype == torch.float32
        assert not torch.equal(x, start[name]), name
    for (name, p), q in zip(run.model.named_parameters(), again.model.parameters(), strict=True):
        assert torch.equal(p, q), name
    states = (checkpoints.optimizer_tensors(x.model, x.optimizer) for x in (run, again))
    ours, theirs = states
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(x, theirs[name]) for name, x in ours.items())


def test_copies_hold_what_rounding_loses(families):
    """Which is why a checkpoint keeps them, not the weights."""
    run = Run(families("text").student).go(4)
    differing = [
        name for name, x in run.masters.exact().items() if not torch.equal(x, x.bfloat16().float())
    ]
    assert len(differing) > 10
