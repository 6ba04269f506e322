"""Paired tests against scipy's, and what their degenerate cases mean."""

import numpy as np
import pytest
from scipy.stats import binomtest, ttest_rel

from gndpo.tables.compare import bootstrap, mcnemar, over_seeds


def test_over_seeds_is_the_paired_t_test() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(0.5, 0.1, 6), rng.normal(0.4, 0.1, 6)
    found = over_seeds(dict(enumerate(x)), dict(enumerate(y)))
    theirs = ttest_rel(x, y)
    low, high = theirs.confidence_interval(0.95)
    assert found.p == pytest.approx(theirs.pvalue)
    assert (found.difference - found.half, found.difference + found.half) == pytest.approx(
        (low, high)
    )


def test_seeds_that_only_one_side_has_do_not_count() -> None:
    found = over_seeds({0: 0.5, 1: 0.6, 7: 0.0}, {1: 0.5, 0: 0.3, 9: 1.0})
    assert (found.n, found.difference) == (2, pytest.approx(0.15))
    assert over_seeds({0: 0.5}, {1: 0.5}) is None


def test_differences_that_do_not_vary_have_no_p() -> None:
    found = over_seeds({0: 0.5, 1: 0.6}, {0: 0.4, 1: 0.5})
    assert found.difference == pytest.approx(0.1)
    assert found.p is None
    assert over_seeds({0: 0.5, 1: 0.6}, {0: 0.5, 1: 0.6}).p is None


@pytest.mark.parametrize(("b", "c"), [(0, 0), (1, 0), (9, 2), (3, 3), (40, 61)])
def test_mcnemar_is_the_binomial_test_of_the_questions_that_differ(b: int, c: int) -> None:
    x = [1.0] * b + [-1.0] * c + [0.0] * 20
    assert mcnemar(x) == pytest.approx(binomtest(b, b + c).pvalue if b + c else 1.0)


def test_the_bootstrap_interval_is_that_of_the_normal_law_for_many_questions() -> None:
    """+- 1.96 s / sqrt(n), and exactly the value where nothing varies."""
    rng = np.random.default_rng(3)
    x = rng.choice([-1.0, 0.0, 1.0], size=3000, p=[0.1, 0.7, 0.2])
    low, high = bootstrap(x)
    half = 1.96 * x.std() / np.sqrt(len(x))
    assert (low, high) == pytest.approx((x.mean() - half, x.mean() + half), abs=0.1 * half)
    assert bootstrap(x) == (low, high)  # drawn alike every time
    assert bootstrap(np.full(5, 0.25)) == (0.25, 0.25)
