"""raw_kl: the log-ratio of the sampled token, clipped or not. Vectors: G1 of the GNDPO notes,
TrOPD's with every token accepted."""

import pytest
import torch
from torch import tensor

from gndpo.scores import Scores

RAW = tensor([[0.2, -1, -8.5, 0], [0.2, 3.95, 0, 0]], dtype=torch.double)


@pytest.mark.parametrize("clamp", [None, 5.0, 1.0])
def test_golden_advantage(make_strategy, two_way, clamp):
    signal = make_strategy("raw_kl", clamp=clamp)(Scores.from_logits(**two_way()))
    expected = RAW if clamp is None else RAW.clamp(-clamp, clamp)
    torch.testing.assert_close(signal.advantage_BT, expected, atol=1e-6, rtol=0)
    assert signal.matches == ()
    assert torch.equal(signal.notes["clamped"].bool(), expected != RAW)


def test_loss_of_an_on_policy_step_is_minus_the_mean_of_the_means(make_strategy, two_way, outcome):
    batch = two_way()
    logits = {view: batch.pop(view) for view in ("student", "teacher")}
    done = outcome(make_strategy("raw_kl", clamp=5.0), logits, **batch)
    assert done.value == pytest.approx(-0.0708333333, abs=1e-6)
    # d log p / d logit = 1 - p over two ids; dL/dl = -A / (B T_i)
    slope_BT = 1 - done.scores.student.logp_BT.exp()
    expected = tensor([[-0.03333333, 0.16666667, 0.83333333, 0], [-0.05, -0.9875, 0, 0]]) * slope_BT
    torch.testing.assert_close(done.gradients["student"][..., 0], expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(done.gradients["student"][..., 1], -expected, atol=1e-6, rtol=0)


def test_it_estimates_the_gradient_of_full_kl(make_strategy, outcome, dense):
    """Summed over every id with its probability, the policy gradient is the reverse KL's."""
    V = 7
    one = dense(seed=3, B=1, T=1, V=V)
    logits = {view: x.expand(V, 1, V) for view, x in one.logits.items()}
    batch = {"ids": torch.arange(V)[:, None], "mask": torch.ones(V, 1)}
    sampled = outcome(
        make_strategy("raw_kl"), logits, aggregation="sequence_mean_token_sum", **batch
    )
    p_V = one.logits["student"][0, 0].softmax(-1)
    expected = (V * p_V[:, None] * sampled.gradients["student"][:, 0]).sum(0)
    exact = outcome(make_strategy("full_kl"), logits, **batch).gradients["student"].sum(0)[0]
    torch.testing.assert_close(expected, exact, atol=1e-12, rtol=0)
