"""Drawing a token: the distribution it comes from, its edges, many ids; blends of two policies."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from gndpo.drawing import BLOCK, blend, blended, divergence_of, inverse_cdf
from gndpo.rng import uniform
from gndpo.rows import NEVER


def test_inverse_cdf_draws_from_the_distribution():
    p_V = torch.tensor([0.02, 0.0, 0.3, 0.08, 0.25, 0.0, 0.35]).double()
    logp_V = p_V.log().clamp_min(NEVER)
    u = torch.from_numpy(uniform(1, "test", 0, [0], 20_000)[0])
    counts = torch.bincount(inverse_cdf(logp_V.expand(20_000, 7), u), minlength=7).numpy()
    drawn = p_V.numpy() > 0
    assert not counts[~drawn].any()
    assert chisquare(counts[drawn], 20_000 * p_V.numpy()[drawn]).pvalue > 0.01


@given(seed=st.integers(0, 1000), V=st.integers(1, 30), u=st.floats(0, 1, exclude_max=True))
def test_inverse_cdf_by_definition(seed, V, u):
    logits = 3 * torch.randn(V, generator=torch.Generator().manual_seed(seed)).double()
    logp_V = logits.log_softmax(-1)
    v = inverse_cdf(logp_V[None], torch.tensor([u], dtype=torch.double)).item()
    cdf = [0.0, *logp_V.exp().cumsum(0).tolist()]
    assert cdf[v] - 1e-9 <= u <= cdf[v + 1] + 1e-9


@pytest.mark.parametrize("dtype", [torch.float, torch.double])
@pytest.mark.parametrize("u", [0.0, 5e-324, 1 - 2**-53, np.nextafter(1, 0), 1.0])
def test_the_edges_of_the_interval_draw_ids_that_can_be_drawn(u, dtype):
    logp_V = torch.full((6,), NEVER)
    logp_V[[2, 3]] = math.log(0.5)
    u_B = torch.tensor([u], dtype=dtype)
    assert inverse_cdf(logp_V[None], u_B).item() == (2 if u < 0.5 else 3)


@pytest.mark.parametrize("V", [BLOCK, BLOCK + 1, 3 * BLOCK, 3 * BLOCK + 77])
@pytest.mark.parametrize("dtype", [torch.float, torch.double])
def test_of_many_ids_the_same_one_is_drawn_as_by_one_cumulative_sum(V, dtype):
    """Half of the ids are forbidden, one whole block among them."""
    generator = torch.Generator().manual_seed(V)
    logits_BV = 3 * torch.randn(400, V, generator=generator).to(dtype)
    never_V = torch.rand(V, generator=generator) < 0.5
    never_V[:BLOCK] |= V > BLOCK
    logp_BV = logits_BV.masked_fill(never_V, NEVER).log_softmax(-1)
    u_B = torch.rand(400, generator=generator, dtype=torch.double)
    cdf_BV = logp_BV.double().exp().cumsum(-1)
    expected_B = torch.searchsorted(cdf_BV, u_B[:, None] * cdf_BV[:, -1:], right=True)[:, 0]
    found_B = inverse_cdf(logp_BV, u_B)
    assert torch.equal(found_B, expected_B)
    assert not never_V[found_B].any()


@pytest.mark.parametrize("u", [0.0, 5e-324, 0.5, np.nextafter(0.5, 0), np.nextafter(1, 0), 1.0])
def test_the_edges_of_blocks_draw_ids_that_can_be_drawn(u):
    """Two ids, the last of one block and the first of another."""
    logp_V = torch.full((4 * BLOCK - 9,), NEVER)
    ids = BLOCK - 1, 2 * BLOCK
    logp_V[list(ids)] = math.log(0.5)
    drawn = inverse_cdf(logp_V[None], torch.tensor([u], dtype=torch.double)).item()
    assert drawn == ids[int(u >= 0.5)]


@given(seed=st.integers(0, 1000), V=st.sampled_from([7, BLOCK + 5]))
def test_a_larger_uniform_never_draws_a_smaller_id(seed, V):
    generator = torch.Generator().manual_seed(seed)
    logp_V = (2 * torch.randn(V, generator=generator)).log_softmax(-1)
    u_B = torch.rand(200, generator=generator, dtype=torch.double).sort().values
    assert (inverse_cdf(logp_V.expand(200, V), u_B).diff() >= 0).all()


@pytest.mark.parametrize("V", [7, 2 * BLOCK + 5])
def test_overflowed_weights_draw_the_last_id(V):
    logp_BV = torch.full((2, V), torch.nan)
    assert inverse_cdf(logp_BV, torch.tensor([0.0, 0.7])).tolist() == [V - 1] * 2


P_BV = torch.tensor(
    [[1.0, 0.5, 0.0, -0.5, -1.0], [0.0, 1.0, 0.5, 0.0, -1.0], [0.5, -1.0, 1.0, 0.0, 2.0]]
).double()
Q_BV = torch.tensor(
    [[2.0, 0.0, 0.5, -1.0, -2.0], [0.5, 1.0, 1.5, -1.0, 0.0], [2.0, 1.0, 0.0, 0.5, -3.0]]
).double()


def blend_of(beta):
    beta_B1 = torch.as_tensor(beta, dtype=torch.double).expand(3).reshape(3, 1)
    return blended(P_BV.log_softmax(-1), Q_BV.log_softmax(-1), beta_B1)


def kl_to_student(logm_BV):
    return divergence_of(logm_BV, P_BV.log_softmax(-1))[:, 0]


def test_a_blend_by_hand():
    """p^(1/2) q^(1/2) in proportion; its KL to p."""
    p_BV, q_BV = P_BV.softmax(-1), Q_BV.softmax(-1)
    mean_BV = (p_BV * q_BV).sqrt()
    torch.testing.assert_close(blend_of(0.5).exp(), mean_BV / mean_BV.sum(-1, keepdim=True))
    expected = torch.tensor([0.05969133, 0.04796192, 0.69032334]).double()
    torch.testing.assert_close(kl_to_student(blend_of(0.5)), expected, atol=1e-8, rtol=0)
    torch.testing.assert_close(blend_of(0.0).exp(), p_BV)
    torch.testing.assert_close(blend_of(1.0).exp(), q_BV)


def test_the_budget_chooses_the_blend():
    """beta* for 0.02 nats, by bisection elsewhere."""
    found = blend(P_BV.log_softmax(-1), Q_BV.log_softmax(-1), 0.02)
    expected = blend_of([0.27976408, 0.31488034, 0.07277359])
    torch.testing.assert_close(found, expected, atol=1e-7, rtol=0)
    torch.testing.assert_close(
        kl_to_student(found), torch.full((3,), 0.02).double(), atol=1e-8, rtol=0
    )


@given(low=st.floats(0, 1), high=st.floats(0, 1), seed=st.integers(0, 1000))
def test_the_kl_of_a_blend_grows_with_its_share(low, high, seed):
    generator = torch.Generator().manual_seed(seed)
    p_BV, q_BV = (3 * torch.randn(2, 6, 9, generator=generator).double()).log_softmax(-1)
    low, high = sorted((low, high))
    kl = [
        divergence_of(blended(p_BV, q_BV, torch.full((6, 1), beta).double()), p_BV)
        for beta in (low, high)
    ]
    assert (kl[0] <= kl[1] + 1e-12).all()


@given(budget=st.floats(1e-4, 3), seed=st.integers(0, 1000))
def test_a_blend_uses_its_budget_or_is_the_guide(budget, seed):
    generator = torch.Generator().manual_seed(seed)
    p_BV, q_BV = (2 * torch.randn(2, 6, 9, generator=generator).double()).log_softmax(-1)
    found_BV = blend(p_BV, q_BV, budget)
    kl_B, whole_B = divergence_of(found_BV, p_BV)[:, 0], divergence_of(q_BV, p_BV)[:, 0]
    torch.testing.assert_close(kl_B, whole_B.clamp(max=budget), atol=1e-6, rtol=0)
    inside_B = whole_B <= budget
    torch.testing.assert_close(found_BV[inside_B], q_BV[inside_B], atol=1e-12, rtol=0)


def test_a_blend_keeps_forbidden_ids_impossible():
    forbidden = torch.tensor([1, 3])
    p_BV, q_BV = (x.index_fill(1, forbidden, NEVER).log_softmax(-1) for x in (P_BV, Q_BV))
    for budget in (1e-6, 0.02, 10.0):
        found_BV = blend(p_BV.float(), q_BV.float(), budget)
        assert found_BV.isfinite().all()
        assert not found_BV.exp()[:, forbidden].any()
        torch.testing.assert_close(found_BV.exp().sum(-1), torch.ones(3))
