"""Moments and quantiles against numpy."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gndpo.errors import UserError
from gndpo.stats import clamp_abs, moments, quantile

values = arrays(np.float64, st.integers(2, 50), elements=st.floats(-100, 100))


@given(x=values)
def test_moments_are_the_mean_and_the_unbiased_variance(x):
    mean, variance = moments(torch.from_numpy(x))
    assert mean.item() == pytest.approx(x.mean(), abs=1e-6)
    assert variance.item() == pytest.approx(x.var(ddof=1), rel=1e-6, abs=1e-9)


def test_moments_of_the_released_code():
    """G1 of the GNDPO notes: eps = 1e-8 in the denominators shows in the ninth digit."""
    mean, variance = moments(torch.tensor([0.2, -1, -5, 0.2, 3.95], dtype=torch.double))
    assert mean.item() == pytest.approx(-0.32999999934, abs=1e-11)
    assert variance.item() == pytest.approx(10.284499979431, abs=1e-11)


@pytest.mark.parametrize("N", [0, 1])
def test_fewer_than_two_values_have_no_variance(N):
    with pytest.raises(
        UserError, match=f"at least 2 valid answer tokens in a step, this one has {N}"
    ):
        moments(torch.zeros(N))


@given(x=values, q=st.floats(0, 1))
def test_quantile_interpolates_as_numpy_does(x, q):
    assert quantile(torch.from_numpy(x), q).item() == pytest.approx(np.quantile(x, q), abs=1e-9)


def test_quantile_of_many_values():
    """torch.quantile refuses more than 2^24."""
    x = torch.arange(2**24 + 1, dtype=torch.float)
    assert quantile(x, 0.5).item() == 2**23


def test_clamp_abs():
    x = torch.tensor([-7.0, -1.0, 0.0, 7.0])
    assert clamp_abs(x, 5.0).tolist() == [-5.0, -1.0, 0.0, 5.0]
    assert clamp_abs(x, None) is x
