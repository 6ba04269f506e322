"""Moments and quantiles against numpy; scopes by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gndpo.errors import UserError
from gndpo.scores import Scores
from gndpo.stats import (
    clamp_abs,
    merged_sums,
    moments,
    over_scope,
    pooled_sums,
    quantile,
    top_share,
    variance,
)

values = arrays(np.float64, st.integers(2, 50), elements=st.floats(-100, 100))


@given(x=values, bessel=st.booleans())
def test_sums_are_those_of_mean_and_variance(x, bessel):
    sums = pooled_sums(torch.from_numpy(x), 1e-8)
    assert sums["mean"].item() == pytest.approx(x.mean(), abs=1e-6)
    s2 = variance(sums, bessel=bessel, eps=1e-8).item()
    assert s2 == pytest.approx(x.var(ddof=int(bessel)), rel=1e-6, abs=1e-9)


def test_moments_of_the_released_code():
    """G1 of the GNDPO notes: eps = 1e-8 in the denominators shows in the ninth digit."""
    sums = pooled_sums(torch.tensor([0.2, -1, -5, 0.2, 3.95], dtype=torch.double), 1e-8)
    assert sums["mean"].item() == pytest.approx(-0.32999999934, abs=1e-11)
    s2 = variance(sums, bessel=True, eps=1e-8).item()
    assert s2 == pytest.approx(10.284499979431, abs=1e-11)


@given(x=values, y=values)
def test_merged_sums_are_those_of_both_samples(x, y):
    both = np.concatenate([x, y])
    merged = merged_sums(*(pooled_sums(torch.from_numpy(z), 0.0) for z in (x, y)), decay=1.0)
    assert merged["count"] == len(both)
    assert merged["mean"].item() == pytest.approx(both.mean(), abs=1e-9)
    assert merged["squares"].item() == pytest.approx(both.var() * len(both), rel=1e-9, abs=1e-9)


def test_merged_sums_in_single_precision_survive_a_large_mean():
    """A mean of squares less the square of the mean would be noise of size 1 here."""
    generator = torch.Generator().manual_seed(0)
    x, y = (3000 + torch.randn(1000, generator=generator) for _ in range(2))
    merged = merged_sums(pooled_sums(x, 0.0), pooled_sums(y, 0.0), 1.0)
    expected = torch.cat([x, y]).double().var().item()
    assert variance(merged, bessel=True, eps=0.0).item() == pytest.approx(expected, rel=1e-4)


def scores_of(rows: int, columns: int, **batch: object) -> Scores:
    logits = torch.zeros(rows, columns, 2).double()
    ids = torch.zeros(rows, columns, dtype=torch.long)
    return Scores.from_logits(logits, logits, ids, torch.ones(rows, columns), **batch)


@pytest.mark.parametrize("scope", ["step", 0.5])
def test_a_step_that_others_wrote_has_nothing_to_normalize(scope):
    carry = {"mean": torch.ones(())}
    scores = scores_of(2, 4, author=torch.ones(2, 4).long(), carry=carry)
    mean_BT, variance_BT, carried = moments(scores, torch.ones(2, 4), scope, bessel=True, eps=1e-8)
    assert not mean_BT.any()
    assert (variance_BT == 1).all()
    assert carried == carry


@pytest.mark.parametrize("scope", ["step", 0.5])
def test_one_value_has_no_variance(scope):
    author = (torch.arange(4) >= 1).long()[None]
    scores = scores_of(1, 4, author=author)
    message = "at least 2 valid answer tokens of the student in a step, this one has 1"
    with pytest.raises(UserError, match=message):
        moments(scores, torch.zeros(1, 4), scope, bessel=True, eps=1e-8)


def test_moments_of_cells():
    """Two prompts, the first with two answers; the second has one token of the student's."""
    x_BT = torch.tensor([[1.0, 2.0], [3.0, 6.0], [9.0, 50.0]]).double()
    author = torch.tensor([[0, 0], [0, 0], [0, 1]])
    scores = scores_of(3, 2, author=author, group=[0, 0, 1])
    mean_BT, s2_BT, carry = moments(scores, x_BT, "group", bessel=True, eps=0.0)
    assert mean_BT.tolist() == [[3, 3], [3, 3], [9, 9]]
    assert s2_BT[:, 0].tolist() == pytest.approx([14 / 3, 14 / 3, 1])
    assert carry == {}
    mean_BT, s2_BT, _ = moments(scores, x_BT, "sequence", bessel=False, eps=0.0)
    assert mean_BT[:, 0].tolist() == [1.5, 4.5, 9]
    assert s2_BT[:, 0].tolist() == [0.25, 2.25, 1]


def test_over_scope():
    x_BT = torch.tensor([[1.0, 2.0], [4.0, 8.0], [16.0, 32.0]])
    of_BT = torch.tensor([[True, True], [True, False], [False, False]])
    scores = scores_of(3, 2, group=[7, 7, 3])

    def sums(scope: str) -> list[list[float]]:
        return over_scope(scores, x_BT, of_BT, scope, torch.sum).tolist()

    assert sums("step") == [[7, 7]] * 3
    assert sums("group") == [[7, 7], [7, 7], [0, 0]]
    assert sums("sequence") == [[3, 3], [4, 4], [0, 0]]
    with pytest.raises(UserError, match="scope=batch is unknown; choose one of step, group"):
        sums("batch")


def test_top_share():
    x_BT = torch.tensor([[1.0, 2.0, 3.0, 4.0], [9.0, 8.0, 7.0, 6.0]])
    author = torch.tensor([[0, 0, 0, 0], [0, 0, 0, 1]])
    scores = scores_of(2, 4, author=author)
    assert top_share(scores, x_BT, 0.3, "step").tolist() == [
        [False] * 4,
        [True, True, False, False],
    ]
    kept_BT = top_share(scores, x_BT, 0.5, "sequence")
    assert kept_BT.tolist() == [[False, False, True, True], [True, True, False, False]]
    assert torch.equal(top_share(scores, x_BT, 1.0, "step"), scores.own_BT)


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
    with pytest.raises(UserError, match="clamp_after=0 must be larger than 0, or null"):
        clamp_abs(x, 0, "clamp_after")
