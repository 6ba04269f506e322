"""Counter-based draws: a cell's value depends on its coordinates alone."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

from gndpo.rng import generator, uniform

coordinate = st.integers(0, 2**40)


@given(seed=coordinate, step=coordinate, rows=st.lists(coordinate, min_size=1, max_size=6))
def test_a_draw_does_not_depend_on_its_batch(seed, step, rows):
    together = uniform(seed, "tokens", step, rows, 4)
    for i, row in enumerate(rows):
        assert np.array_equal(uniform(seed, "tokens", step, [row], 4)[0], together[i])
        assert np.array_equal(generator(seed, "tokens", step, row).random(4), together[i])


@given(seed=coordinate, width=st.integers(1, 20), more=st.integers(0, 20))
def test_a_column_does_not_depend_on_the_width(seed, width, more):
    narrow, wide = (uniform(seed, "tokens", 0, [0, 1], w) for w in (width, width + more))
    assert np.array_equal(narrow, wide[:, :width])


def test_every_coordinate_matters():
    cells = itertools.product((0, 1), ("tokens", "gates"), (0, 1), (0, 1))
    draws = {generator(*cell).random() for cell in cells}
    assert len(draws) == 16


def test_neighbouring_cells_do_not_share_a_stream():
    """A row's later columns are not the next row's, nor the next step's, first ones."""
    rows = uniform(3, "tokens", 5, range(50), 100)
    later = uniform(3, "tokens", 6, range(50), 100)
    assert len(np.unique(np.concatenate([rows, later]))) == 2 * rows.size


def test_draws_are_uniform_in_the_half_open_interval():
    x = uniform(0, "tokens", 0, range(200), 50).ravel()
    assert x.min() >= 0
    assert x.max() < 1
    assert kstest(x, "uniform").pvalue > 0.01
    assert abs(np.corrcoef(x[:-1], x[1:])[0, 1]) < 0.03


def test_values_are_pinned():
    """Checkpoints are continued by redrawing: a change here changes every run."""
    pinned = [0.6912984946839689, 0.5748591433440837, 0.7879517381360015]
    assert generator(1, "tokens", 2, 3).random(3).tolist() == pinned
