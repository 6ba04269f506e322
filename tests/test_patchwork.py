"""Distributions of several models side by side read as if they were one block."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from gndpo.models.vocabulary import Vocabulary
from gndpo.policy import Head
from gndpo.rows import DenseHead, Patchwork, Rows, joined
from gndpo.views import make_views

V = 7


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def patchwork(places, seed=0, chunk=4):
    """Logits of all N tokens, and the same ones cut into the parts that own `places`."""
    N = sum(map(len, places))
    logits_NV = random(N, V, seed=seed)
    places = tuple(torch.tensor(place, dtype=torch.long) for place in places)
    parts = tuple(Rows(logits_NV[place], DenseHead(), chunk) for place in places)
    return logits_NV, Patchwork(parts, places, chunk)


PLACES = ([0, 3, 4, 8], [6, 1], [2, 5, 7, 9])


def test_every_token_has_its_own_distribution_in_its_own_place():
    logits_NV, patches = patchwork(PLACES)
    expected = logits_NV.log_softmax(-1)
    assert torch.equal(patches.log_probs(), expected)
    parts = [patches.log_probs(part) for part in patches.chunks()]
    assert [len(x) for x in parts] == [4, 4, 2]
    assert torch.equal(torch.cat(parts), expected)


@given(
    owners=st.lists(st.integers(0, 3), min_size=1, max_size=30),
    data=st.data(),
    seed=st.integers(0, 100),
)
def test_any_selection_of_any_patchwork(owners, data, seed):
    places = [[i for i, owner in enumerate(owners) if owner == part] for part in range(4)]
    logits_NV, patches = patchwork([place for place in places if place], seed=seed)
    n = len(owners)
    index = torch.tensor(data.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=20)))
    start, stop = sorted(data.draw(st.tuples(st.integers(0, n - 1), st.integers(1, n))))
    for chosen in (index, slice(start, max(stop, start + 1))):
        assert torch.equal(patches.log_probs(chosen), logits_NV.log_softmax(-1)[chosen])


def test_the_parts_may_have_other_sizes_and_heads():
    """Hidden sizes 3 and 5, one vocabulary."""
    vocabulary = Vocabulary(size=V, eos=(1,), pad=0, forbidden=(0,))
    heads = [Head(nn.Linear(H, V + 2).double(), vocabulary, 1.0) for H in (3, 5)]
    hidden = random(2, 3, seed=1), random(3, 5, seed=2)
    places = torch.tensor([3, 0]), torch.tensor([1, 2, 4])
    parts = tuple(Rows(x, head) for x, head in zip(hidden, heads, strict=True))
    got = Patchwork(parts, places).log_probs()
    for head, x, place in zip(heads, hidden, places, strict=True):
        assert torch.equal(got[place], head.log_probs(x))
    assert not got.exp()[:, 0].any()


def test_gradients_reach_every_part():
    logits_NV, patches = patchwork(PLACES)
    leaves = [part.hidden_NH.clone().requires_grad_() for part in patches.parts]
    live = Patchwork(tuple(Rows(x, DenseHead()) for x in leaves), patches.places)
    weight_NV = random(10, V, seed=5)
    (live.log_probs() * weight_NV).sum().backward()
    whole = logits_NV.clone().requires_grad_()
    (whole.log_softmax(-1) * weight_NV).sum().backward()
    for leaf, place in zip(leaves, patches.places, strict=True):
        torch.testing.assert_close(leaf.grad, whole.grad[place])


def test_blocks_are_joined_at_their_tokens():
    logits, blocks = zip(*(patchwork(PLACES, seed=seed) for seed in (1, 2, 3)), strict=True)
    tokens = torch.randperm(30, generator=torch.Generator().manual_seed(4))
    whole = joined(blocks, tokens.split(10), chunk=8)
    assert whole.chunk == 8
    expected = torch.cat(logits).log_softmax(-1)[tokens.argsort()]
    assert torch.equal(whole.log_probs(), expected)
    assert torch.equal(whole.log_probs(slice(8, 23)), expected[8:23])


def test_blocks_of_one_model_stay_one_block():
    head, hidden = DenseHead(), [random(n, V, seed=n) for n in (3, 2)]
    tokens = torch.tensor([4, 0, 2]), torch.tensor([1, 3])
    whole = joined([Rows(x, head) for x in hidden], tokens, chunk=8)
    assert isinstance(whole, Rows)
    assert whole.chunk == 8
    assert torch.equal(whole.hidden_NH[torch.cat(tokens)], torch.cat(hidden))


@pytest.mark.parametrize("request_", [("logp",), ("entropy",), ("top_k_logp", 3), ("kl", "other")])
def test_a_view_of_a_patchwork_says_what_a_view_of_one_block_says(request_):
    logits_NV, patches = patchwork(PLACES, chunk=3)
    mask_BT = torch.tensor([[1, 1, 1, 1], [1, 0, 0, 0], [1, 1, 1, 1], [1, 0, 0, 0]]).bool()
    ids_BT = torch.randint(V, (4, 4), generator=torch.Generator().manual_seed(0))
    other = Rows(random(10, V, seed=9), DenseHead(), 3)
    one, several = (
        make_views(ids_BT, mask_BT, {"this": rows, "other": other})["this"].read(request_)
        for rows in (Rows(logits_NV, DenseHead(), 3), patches)
    )
    torch.testing.assert_close(several, one, atol=1e-12, rtol=0)
    assert not several[~mask_BT].any()
    assert several[mask_BT].any()
