"""McNemar's test against scipy's, and the bootstrap over questions."""

import numpy as np
import pytest
from scipy.stats import binomtest

from gndpo.tables.compare import bootstrap, mcnemar


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
