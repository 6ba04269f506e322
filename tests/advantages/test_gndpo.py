"""GNDPO: clamp, then whiten over the whole step. Vector G1, its off-policy check, its ablation
arms, and what defines it."""

import functools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import tensor

from gndpo.errors import UserError
from gndpo.scores import Scores
from gndpo.surrogates import gspo, token_weights

ARMS = {
    "clamp": (
        {"centre": False, "scale": False},
        [[0.2, -1, -5, 0], [0.2, 3.95, 0, 0]],
    ),
    "clamp+whiten": (
        {},
        [[0.16526629, -0.20892154, -1.45621429, 0], [0.16526629, 1.33460325, 0, 0]],
    ),
    "clamp+centre": ({"scale": False}, [[0.53, -0.67, -4.67, 0], [0.53, 4.28, 0, 0]]),
    "clamp+scale": (
        {"centre": False},
        [[0.06236464, -0.31182319, -1.55911595, 0], [0.06236464, 1.23170160, 0, 0]],
    ),
    "whiten": (
        {"clamp": None},
        [[0.26900432, 0.00656108, -1.63370915, 0], [0.26900432, 1.08913944, 0, 0]],
    ),
}
LOSSES = {  # arm: on-policy loss and gradient, off-policy loss and gradient
    "clamp": (
        -0.0708333333,
        [[-0.03333333, 0.16666667, 0.83333333, 0], [-0.05, -0.9875, 0, 0]],
        0.6144017598,
        [[0, 0.22497647, 1.12488234, 0], [-0.03351600, -0.66194105, 0, 0]],
    ),
    "clamp+whiten": (
        -0.1249891282,
        [[-0.02754438, 0.03482026, 0.24270238, 0], [-0.04131657, -0.33365081, 0, 0]],
        0.0902149648,
        [[0, 0.04700243, 0.32761395, 0], [-0.02769533, -0.22365283, 0, 0]],
    ),
}
OFF_POLICY = tensor([[0.3, 0.3, 0.3, 0], [-0.4, -0.4, 0, 0]], dtype=torch.double)
GSPO = functools.partial(gspo, clip_low=0.2, clip_high=0.2)


def close(actual, expected, atol=1e-6):
    torch.testing.assert_close(
        actual, torch.as_tensor(expected, dtype=torch.double), atol=atol, rtol=0
    )


@pytest.fixture(scope="session")
def gndpo(make_strategy):
    return functools.partial(make_strategy, "gndpo")


@pytest.mark.parametrize("arm", ARMS)
def test_golden_advantage(gndpo, two_way, arm):
    knobs, expected = ARMS[arm]
    signal = gndpo(**knobs)(Scores.from_logits(**two_way()))
    close(signal.advantage_BT, expected)
    assert signal.notes["clamped"].sum() == (knobs.get("clamp", 5.0) is not None)


@pytest.mark.parametrize("arm", LOSSES)
@pytest.mark.parametrize("off_policy", [False, True])
def test_golden_gspo_loss_and_gradient(gndpo, two_way, arm, off_policy):
    scores = Scores.from_logits(**two_way())
    A_BT, old_BT = gndpo(**ARMS[arm][0])(scores).advantage_BT, scores.student.logp_BT
    logp_BT = (old_BT + off_policy * OFF_POLICY).requires_grad_()
    loss_BT, clipped_BT = GSPO(logp_BT, old_BT, A_BT, scores.mask_BT)
    loss = (token_weights(scores.mask_BT, "sequence_mean_token_mean") * loss_BT).sum()
    loss.backward()
    value, gradient = LOSSES[arm][2 * off_policy : 2 * off_policy + 2]
    close(loss, value)
    close(logp_BT.grad, gradient)
    assert clipped_BT.sum() / 5 == pytest.approx(0.2 * off_policy)


def test_golden_loss_through_the_line(gndpo, two_way, outcome):
    batch = two_way()
    logits = {view: batch.pop(view) for view in ("student", "teacher")}
    done = outcome(gndpo(), logits, surrogate=GSPO, **batch)
    value, gradient = LOSSES["clamp+whiten"][:2]
    slope_BT = 1 - done.scores.student.logp_BT.exp()
    assert done.value == pytest.approx(value, abs=1e-6)
    close(done.gradients["student"][..., 0], tensor(gradient) * slope_BT)


@given(seed=st.integers(0, 10_000), clamp=st.sampled_from([None, 0.5, 5.0]))
def test_affine_in_the_clamped_log_ratio(make_strategy, dense, seed, clamp):
    scores = dense(seed).scores()
    d_N = scores.pool(make_strategy("raw_kl", clamp=clamp)(scores).advantage_BT)
    A_N = scores.pool(make_strategy("gndpo", clamp=clamp)(scores).advantage_BT)
    close(A_N.mean(), 0.0, 1e-7)
    close(A_N.var(), 1.0, 1e-6)
    close(A_N * d_N.std(), d_N - d_N.mean())


@given(seed=st.integers(0, 10_000), factor=st.floats(0.5, 3), shift=st.floats(-0.01, 0.01))
def test_blind_to_scale_and_shift_of_the_log_ratio(gndpo, two_way, seed, factor, shift):
    generator = torch.Generator().manual_seed(seed)
    student = torch.full((2, 4), -4.0, dtype=torch.double)
    d_BT = torch.rand(2, 4, generator=generator, dtype=torch.double)
    plain = gndpo()(Scores.from_logits(**two_way(student, student + d_BT)))
    moved = gndpo()(Scores.from_logits(**two_way(student, student + factor * d_BT + shift)))
    close(moved.advantage_BT, plain.advantage_BT, 1e-5)  # eps is all that is left


def test_the_scope_is_the_whole_step(gndpo, dense):
    """Rows permuted: the same numbers, permuted. Groups scored alone: other numbers."""
    batch = dense(seed=1)
    A_BT = gndpo()(batch.scores()).advantage_BT
    order = torch.tensor([4, 1, 5, 0, 3, 2])
    rows = {key: x[order] for key, x in (batch.logits | batch.batch).items()}
    close(gndpo()(Scores.from_logits(**rows)).advantage_BT, A_BT[order], 1e-12)
    alone = {key: x[:2] for key, x in (batch.logits | batch.batch).items()}
    difference_BT = gndpo()(Scores.from_logits(**alone)).advantage_BT - A_BT[:2]
    assert difference_BT.abs().max() > 0.1


def test_whitening_comes_after_the_clamp_and_is_not_clipped(gndpo):
    """One outlier among 100 equal tokens: d = (-5, 0, ..., 0) once clamped, mean -0.05, unbiased
    variance 0.25."""
    logits = torch.zeros(1, 100, 2, dtype=torch.double)
    outlier = logits.clone()
    outlier[0, 0, 0] = -9
    ids, mask = torch.zeros(1, 100, dtype=torch.long), torch.ones(1, 100)
    scores = Scores.from_logits(student=logits, teacher=outlier, ids=ids, mask=mask)
    A_BT = gndpo()(scores).advantage_BT
    close(A_BT[0, 0], -4.95 / 0.5)
    close(A_BT[0, 1:], torch.full((99,), 0.05 / 0.5))


def test_one_token_has_no_variance(gndpo, dense):
    one = dense(B=1, T=1)
    with pytest.raises(UserError, match="at least 2 valid answer tokens"):
        gndpo()(one.scores())
