"""Lines and bands as numbers, labels that do not overlap, colours that stay."""

import numpy as np
import pytest

from gndpo.report.arms import Arm
from gndpo.report.curves import band, band_meaning, moving_mean
from gndpo.report.labels import spread
from gndpo.report.palette import COLOURS, looks

STEPS = np.array([1.0, 2.0])


def test_band_of_five_seeds_is_the_t_interval():
    seeds = [(STEPS, np.array([y, 0.0])) for y in (1.0, 2.0, 3.0, 4.0, 5.0)]
    found = band(seeds, log=False)
    # mean 3, s = sqrt(2.5), t(0.975, 4) = 2.776445: half = 2.776445 * sqrt(2.5 / 5)
    assert found.middle == pytest.approx([3.0, 0.0])
    assert found.high - found.middle == pytest.approx([1.963243, 0.0], abs=1e-6)


def test_band_of_two_seeds_is_their_range():
    found = band([(STEPS, np.array([1.0, 2.0])), (STEPS, np.array([3.0, 8.0]))], log=False)
    assert (found.low.tolist(), found.high.tolist()) == ([1.0, 2.0], [3.0, 8.0])


def test_a_log_band_is_geometric_and_positive():
    found = band([(STEPS, np.array([y, y])) for y in (1.0, 10.0, 100.0)], log=True)
    assert found.middle == pytest.approx([10.0, 10.0])
    assert (found.low > 0).all()


def test_steps_that_cannot_be_drawn_are_left_out():
    seeds = [(STEPS, np.array([1.0, np.nan])), (STEPS, np.array([2.0, 3.0]))]
    assert band(seeds, log=False).steps.tolist() == [1.0]
    assert band([(STEPS, np.array([0.0, 0.0]))], log=True) is None
    assert band([], log=False) is None


def test_moving_mean_is_centred_and_exact_at_the_ends():
    assert moving_mean(np.array([1.0, 2.0, 6.0]), 3) == pytest.approx([1.5, 3.0, 4.0])
    assert moving_mean(np.array([1.0, 2.0]), 1) == pytest.approx([1.0, 2.0])


def test_only_long_curves_are_smoothed():
    steps = np.arange(300.0)
    found = band([(steps, np.where(steps == 150, 31.0, 0.0))], log=False)
    assert found.smoothed
    assert found.middle.max() == pytest.approx(31 / 11)
    assert found.raw.max() == 31


def test_labels_are_pushed_apart_and_stay_inside():
    assert spread([0.2, 0.6], 0.1) == pytest.approx([0.2, 0.6])
    assert spread([0.50, 0.52], 0.1) == pytest.approx([0.46, 0.56])
    assert spread([0.0, 0.0, 0.05], 0.1) == pytest.approx([0.0, 0.1, 0.2])
    assert spread([1.0, 1.0], 0.1) == pytest.approx([0.9, 1.0])
    assert np.diff(spread([0.5] * 40, 0.1)) == pytest.approx(1 / 40)


def test_colours_follow_the_strategy_and_dashes_its_arms():
    arms = [Arm(name, name.split()[0], ()) for name in ("gndpo", "gndpo clamp=1", "raw_kl", "new")]
    found = looks(arms)
    assert found["gndpo"].colour == found["gndpo clamp=1"].colour == COLOURS["gndpo"]
    assert found["gndpo"].dash != found["gndpo clamp=1"].dash
    assert found["new"].colour not in COLOURS.values()


def test_arms_of_one_strategy_get_colours_of_their_own():
    found = looks([Arm(f"gndpo clamp={i}", "gndpo", ()) for i in range(5)])
    assert len({look.colour for look in found.values()}) == 5


def test_band_meaning_is_said():
    assert band_meaning([1, 1]) == "one seed each, no band"
    assert band_meaning([2, 1]) == "the range over 1-2 seeds"
    assert band_meaning([3, 3]) == "the range over 3 seeds"
    assert band_meaning([5, 5]) == "95% t interval over 5 seeds"
    assert band_meaning([9, 3]) == "95% t interval over 3-9 seeds, the range of fewer than 5"
