"""Caches that answers are written into hold what concatenating caches hold."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers.cache_utils import DynamicLayer

from gndpo.models.caches import Growing, static

H, D, LIMIT = 2, 3, 40


def states(rows, tokens, seed):
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(rows, H, tokens, D, generator=generator),
        torch.randn(rows, H, tokens, D + 1, generator=generator),
    )


def read(L, rows=4):
    """A layer behind prompts of L tokens; values may be wider than keys."""
    layer = DynamicLayer()
    layer.update(*states(rows, L, seed=0))
    return layer


def assert_same(a, b):
    assert torch.equal(a.keys, b.keys)
    assert torch.equal(a.values, b.values)
    assert a.get_seq_length() == b.get_seq_length()


@given(
    L=st.integers(1, 9),
    steps=st.lists(st.tuples(st.integers(1, 4), st.booleans()), max_size=8),
)
def test_a_growing_layer_holds_what_a_concatenating_one_does(L, steps):
    """Tokens, one or some at a time; every other row leaves now and then."""
    plain, growing = read(L), Growing(read(L), LIMIT)
    for seed, (tokens, leave) in enumerate(steps):
        new = states(len(plain.keys), tokens, seed)
        for a, b in zip(growing.update(*new), plain.update(*new), strict=True):
            assert torch.equal(a, b)
        if leave:
            stay = torch.arange(0, len(plain.keys), 2)
            plain.batch_select_indices(stay)
            growing.batch_select_indices(stay)
        assert_same(growing, plain)


def test_tokens_are_written_where_there_is_room():
    """Room for a quarter more: 8 tokens and one are 9, 11 fit; then 12 and a quarter of 12."""
    growing, places, rooms = Growing(read(8), LIMIT), [], []
    for seed in range(6):
        growing.update(*states(4, 1, seed))
        places.append(growing.keys.data_ptr())
        rooms.append(growing.room[0].shape[2])
    assert rooms == [11, 11, 11, 15, 15, 15]
    assert places[0] == places[1] == places[2] != places[3] == places[4] == places[5]


@pytest.mark.parametrize("L", [8, 37])
def test_there_is_never_room_for_more_than_the_limit(L):
    growing = Growing(read(L), LIMIT)
    for seed in range(LIMIT - L):
        growing.update(*states(4, 1, seed))
        assert growing.room[0].shape[2] <= LIMIT
    assert growing.get_seq_length() == LIMIT


def test_a_layer_that_is_copied_grows_alone():
    """Two that start from one do not write into each other."""
    one = read(5)
    first, second = Growing(one, LIMIT), Growing(one, LIMIT)
    first.update(*states(4, 1, 1))
    second.update(*states(4, 1, 2))
    assert torch.equal(first.keys[:, :, 5:], states(4, 1, 1)[0])
    assert torch.equal(second.keys[:, :, 5:], states(4, 1, 2)[0])
    assert_same(one, read(5))


def test_a_static_layer_keeps_its_shape_and_its_place():
    plain, fixed = read(5), static(read(5), 9)
    place = fixed.keys.data_ptr()
    for seed in range(4):
        new = states(4, 1, seed)
        plain.update(*new)
        keys, values = fixed.update(*new)
        K = plain.get_seq_length()
        assert keys.shape == (4, H, 9, D)
        assert keys.data_ptr() == place
        assert torch.equal(keys[:, :, :K], plain.keys)
        assert torch.equal(values[:, :, :K], plain.values)
        assert not keys[:, :, K:].any()
