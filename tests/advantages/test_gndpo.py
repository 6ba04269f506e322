"""GNDPO: clamp, then whiten. Vector G1, its off-policy check, its ablation arms, every knob, and
what it descends."""

import functools

import pytest
import torch
from golden import close
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


def test_bessel_and_eps(gndpo, two_way):
    scores = Scores.from_logits(**two_way())
    A_BT = gndpo()(scores).advantage_BT
    close(gndpo(bessel=False)(scores).advantage_BT, A_BT * (5 / 4) ** 0.5)
    # eps = 1: mean -1.65 / 6, squares 41.153125, variance 41.153125 / 6 * 5 / 4
    expected = tensor([[0.475, -0.725, -4.725, 0], [0.475, 4.225, 0, 0]]).double()
    close(gndpo(eps=1.0)(scores).advantage_BT, expected / 9.573567708**0.5)


def test_clamp_after_clips_the_whitened_advantage(gndpo, two_way):
    """And in that order: the same limit before the whitening gives other numbers."""
    scores = Scores.from_logits(**two_way())
    A_BT = gndpo()(scores).advantage_BT
    close(gndpo(clamp_after=1.0)(scores).advantage_BT, A_BT.clamp(-1, 1))
    swapped = gndpo(clamp=None, clamp_after=5.0)(scores).advantage_BT
    assert (swapped - A_BT).abs().max() > 0.1


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"scope": "batch"}, "scope=batch is unknown; choose one of step, group, sequence or"),
        ({"scope": 1.0}, r"a decay in \(0, 1\)"),
        ({"scope": "group", "centre": False, "scale": False}, "scope=group needs centre=true"),
        ({"bessel": False, "scale": False}, "bessel=false needs scale=true"),
        ({"clamp_after": -1.0}, "clamp_after=-1.0 must be larger than 0"),
    ],
)
def test_what_cannot_be_combined_is_refused(gndpo, two_way, knobs, message):
    with pytest.raises(UserError, match=message):
        gndpo(**knobs)(Scores.from_logits(**two_way()))


def reverse_kl(p_SV, q_SV):
    return p_SV * (p_SV / q_SV).log()


@pytest.mark.parametrize("centre", [True, False])
@pytest.mark.parametrize("scope", ["step", 0.9])
def test_it_descends_the_kl_divided_by_the_deviation(gndpo, census, centre, scope):
    p_SV, q_SV = census.p_SV, census.q_SV
    d_SV = (q_SV / p_SV).log()
    mean = (p_SV * d_SV).sum() / 2
    s2 = (p_SV * (d_SV - mean).square()).sum() / 2 * 40 / 39
    found = census.policy_gradient(gndpo(clamp=None, centre=centre, scope=scope))
    close(found, census.gradient_of(reverse_kl) / s2.sqrt())


def test_the_bias_of_the_clamp(gndpo, census):
    """Tokens beyond the limit count as if at it: the expected policy gradient is off by the
    difference, here up to 0.01."""
    found = census.policy_gradient(gndpo(clamp=1.0, scale=False))
    d_SV = (census.q_SV / census.p_SV).log()
    excess_SV = d_SV.clamp(-1, 1) - d_SV
    bias = census.gradient_of(lambda p_SV, q_SV: -p_SV * excess_SV)
    close(found, census.gradient_of(reverse_kl) + bias)
    assert bias.abs().max() > 0.01
