"""Paired tests against scipy's, what their degenerate cases mean, and the table."""

import numpy as np
import pytest
from scipy.stats import ttest_rel

from gndpo.report.arms import group
from gndpo.report.load import find_runs
from gndpo.report.paired import cells, markdown, paired, rows, terminal

from .conftest import BASE, fake_eval


def test_it_is_the_paired_t_test() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(0.5, 0.1, 6), rng.normal(0.4, 0.1, 6)
    found = paired(dict(enumerate(x)), dict(enumerate(y)))
    theirs = ttest_rel(x, y)
    low, high = theirs.confidence_interval(0.95)
    assert found.p == pytest.approx(theirs.pvalue)
    assert found.effect == pytest.approx((x - y).mean() / (x - y).std(ddof=1))
    assert (found.difference - found.half, found.difference + found.half) == pytest.approx(
        (low, high)
    )


def test_seeds_that_only_one_side_has_do_not_count() -> None:
    found = paired({0: 0.5, 1: 0.6, 7: 0.0}, {1: 0.5, 0: 0.3, 9: 1.0})
    assert (found.n, found.difference) == (2, pytest.approx(0.15))
    assert paired({0: 0.5}, {1: 0.5}) is None


def test_differences_that_do_not_vary_have_no_p() -> None:
    found = paired({0: 0.5, 1: 0.6}, {0: 0.4, 1: 0.5})
    assert found.difference == pytest.approx(0.1)
    assert found.p is None
    assert paired({0: 0.5, 1: 0.6}, {0: 0.5, 1: 0.6}).p is None


def write(make_run, root, strategy, gains):
    for seed, gain in enumerate(gains):
        evals = [
            fake_eval(0, "student", "test", BASE),
            fake_eval(9, "student", "test", BASE + gain),
        ]
        make_run(root / f"{strategy}-{seed}", strategy, seed, evals=evals)


def test_arms_are_compared_with_the_first(make_run, tmp_path):
    write(make_run, tmp_path, "full_kl", (0.2, 0.3, 0.25))
    write(make_run, tmp_path, "raw_kl", (0.1, 0.22, 0.18))
    arms = group(find_runs([tmp_path]))
    assert [arm.name for arm in arms] == ["full_kl", "raw_kl"]
    expected = paired({0: 0.1, 1: 0.22, 2: 0.18}, {0: 0.2, 1: 0.3, 2: 0.25})
    assert expected.difference == pytest.approx(-0.25 / 3)
    assert rows(arms) == [["raw_kl", *cells(expected), *cells(expected)]]
    assert cells(expected)[0] == "-8.3 ± 3.8"
    heading, table, _ = markdown(arms)
    assert heading == "## Seed by seed, against full_kl"
    assert table.count("\n") == 2
    assert terminal(arms).row_count == 1


def test_single_seeds_are_not_paired(make_run, tmp_path):
    for strategy in ("full_kl", "raw_kl"):
        write(make_run, tmp_path, strategy, (0.2,))
    arms = group(find_runs([tmp_path]))
    assert rows(arms) == markdown(arms) == []
    assert terminal(arms) is None
    assert rows([]) == []
