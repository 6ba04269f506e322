"""Every number of the report against one worked out by hand."""

import numpy as np
import pytest

from gndpo.report import stats


def test_t_interval_of_three_seeds():
    # mean 2, s = 1, t(0.975, 2) = 4.302653: half = 4.302653 / sqrt(3)
    found = stats.interval([1.0, 2.0, 3.0])
    assert found.mean == 2.0
    assert found.half == pytest.approx(2.484138, abs=1e-6)
    assert (found.low, found.high) == pytest.approx((-0.484138, 4.484138), abs=1e-6)
    assert (found.n, found.least, found.most) == (3, 1.0, 3.0)


def test_t_interval_of_two_seeds_is_wide():
    # s = sqrt(2)/2 * 1, t(0.975, 1) = 12.706205: half = 12.706205 * 0.5
    assert stats.interval([0.0, 1.0]).half == pytest.approx(6.353102, abs=1e-6)


def test_one_seed_has_no_interval():
    found = stats.interval([0.7])
    assert found.half is None
    assert found.low == found.high == 0.7


def test_half_width_is_taken_over_seeds_for_every_step():
    values_NS = np.array([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0]])
    assert stats.t_half_width(values_NS) == pytest.approx([2.484138, 0.0], abs=1e-6)


def test_gap_closed():
    assert stats.gap_closed(0.75, 0.55, 0.95) == pytest.approx(0.5)
    assert stats.gap_closed(0.45, 0.55, 0.95) == pytest.approx(-0.25)


@pytest.mark.parametrize(
    "known", [(None, 0.5, 0.9), (0.6, None, 0.9), (0.6, 0.5, None), (0.6, 0.9, 0.9)]
)
def test_gap_closed_is_nothing_without_a_gap(known):
    assert stats.gap_closed(*known) is None


def test_tail_ratio_does_not_depend_on_scale():
    norms = np.arange(1.0, 102.0)  # quantile 0.99 of 1..101 is 100, the median 51
    assert stats.tail_ratio(norms) == pytest.approx(100 / 51)
    assert stats.tail_ratio(1000 * norms) == pytest.approx(100 / 51)


def test_variation_is_population_std_over_mean():
    assert stats.variation(np.array([2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0])) == pytest.approx(0.4)


def test_spikes_are_counted_against_the_median_before():
    norms = np.ones(40)
    norms[3] = 50.0  # within the first ten: not judged
    norms[12] = 5.0  # exactly five times: no spike
    norms[20] = 5.1
    norms[30] = np.inf
    norms[35] = np.nan  # a skipped step, counted there
    assert stats.spikes(norms) == 2


def test_spikes_forget_what_is_older_than_the_window():
    level = np.concatenate([np.ones(60), np.full(60, 10.0)])
    # The step up is a spike until the median of the last 50 norms has moved: 25 steps at 1 vs 10
    # give a median of 5.5 at the 26th, against which 10 is none.
    assert stats.spikes(level) == 25
    assert stats.spikes(np.ones(10)) is None


def test_lost_accuracy_counts_what_does_not_come_back_within_three_evaluations():
    regained = np.array([0.5, 0.6, 0.4, 0.4, 0.4, 0.6])  # back at the third after the drop
    late = np.array([0.5, 0.6, 0.4, 0.4, 0.45, 0.4, 0.6])
    assert stats.lost_accuracy(regained) == 0.0
    assert stats.lost_accuracy(late) == pytest.approx(0.15)
    assert stats.lost_accuracy(np.array([0.5, 0.7, 0.6])) == pytest.approx(0.1)
    assert stats.lost_accuracy(np.array([0.5])) is None


def test_tail_mean_is_over_the_last_tenth():
    assert stats.tail_mean(np.arange(20.0)) == 18.5
    assert stats.tail_mean(np.array([3.0, 1.0, np.nan])) == 1.0
    assert stats.tail_mean(np.array([])) is None


@pytest.mark.parametrize("measure", [stats.median, stats.tail_ratio, stats.variation])
def test_non_finite_norms_are_left_out(measure):
    clean = np.array([1.0, 2.0, 4.0])
    assert measure(np.array([1.0, np.nan, 2.0, np.inf, 4.0])) == pytest.approx(measure(clean))
    assert measure(np.array([np.nan])) is None


@pytest.mark.parametrize("seed", range(4))
def test_spike_places_are_those_of_the_definition(seed):
    rng = np.random.default_rng(seed)
    norms = np.exp(0.9 * rng.standard_normal(300))
    norms[[40, 90]] = np.inf, np.nan
    expected = []
    for step in range(len(norms)):
        before = norms[max(0, step - 50) : step]
        before = before[np.isfinite(before)]
        if len(before) >= 10 and norms[step] > 5 * np.median(before):
            expected.append(step)
    assert stats.spike_places(norms).tolist() == expected
    assert 40 in expected
    assert 90 not in expected


def test_short_runs_have_no_spikes():
    assert len(stats.spike_places(np.array([1.0, 100.0]))) == 0
    assert len(stats.spike_places(np.array([]))) == 0
