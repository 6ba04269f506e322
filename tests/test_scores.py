"""Scores: every quantity against its definition, exact zeros at padding, chunk by chunk, from every
view to every other."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gndpo.rows import DenseHead, Rows, scatter
from gndpo.scores import Scores
from gndpo.views import VIEWS, View, make_views

PAIRS = [pair for pair in itertools.product(VIEWS, repeat=2) if pair[0] != pair[1]]


@pytest.fixture
def views(dense):
    return dense(seed=1, V=9)


def masked(x, batch):
    mask = batch["mask"]
    return x.where(mask.reshape(*mask.shape, *[1] * (x.ndim - 2)), torch.zeros_like(x))


@pytest.mark.parametrize("view", VIEWS)
def test_quantities_of_a_view(views, view):
    logp = views.logits[view].log_softmax(-1)
    x = views.scores().views[view]
    expected = logp.gather(-1, views.batch["ids"][..., None])[..., 0]
    torch.testing.assert_close(x.logp_BT, masked(expected, views.batch))
    torch.testing.assert_close(x.entropy_BT, masked(-(logp.exp() * logp).sum(-1), views.batch))
    ids, values = x.top_k(3)
    torch.testing.assert_close(values, masked(logp.topk(3).values, views.batch))
    torch.testing.assert_close(ids, masked(logp.topk(3).indices, views.batch))
    some = torch.randint(9, (6, 5, 2), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(x.at(some), masked(logp.gather(-1, some), views.batch))


@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_quantities_between_views(views, a, b):
    """Whichever view was made first."""
    p, q = (views.logits[view].log_softmax(-1) for view in (a, b))
    x = views.scores().views[a]
    torch.testing.assert_close(x.kl(b), masked((p.exp() * (p - q)).sum(-1), views.batch))
    torch.testing.assert_close(
        x.at_top_k(b, 4), masked(p.gather(-1, q.topk(4).indices), views.batch)
    )


@given(chunk=st.integers(1, 40), seed=st.integers(0, 1000))
def test_any_chunk_gives_the_same(dense, chunk, seed):
    views = dense(seed, V=7)
    ids, mask = views.batch["ids"], views.batch["mask"]
    rows = {name: Rows(x[mask], DenseHead(), chunk) for name, x in views.logits.items()}
    whole, parts = views.scores().views, make_views(ids, mask, rows)
    for request in [
        ("logp",),
        ("entropy",),
        ("top_k_ids", 3),
        ("kl", "teacher"),
        ("at_top_k", "teacher", 2),
    ]:
        torch.testing.assert_close(parts["student"].read(request), whole["student"].read(request))
    some = torch.zeros(6, 5, 2, dtype=torch.long)
    torch.testing.assert_close(parts["teacher"].at(some), whole["teacher"].at(some))


def test_a_quantity_is_computed_once_and_remembered(views):
    teacher = views.scores().teacher
    assert teacher.logp_BT is teacher.logp_BT
    assert set(teacher.known) == {("logp",)}
    assert not teacher.whole
    teacher.at(torch.zeros(6, 5, 1, dtype=torch.long))
    assert teacher.whole


def test_what_was_not_asked_for_at_start_up_is_an_error(views):
    batch = views.batch
    logp = views.scores().student.logp_BT
    x = View("student", batch["ids"], batch["mask"], None, {("logp",): logp})
    assert torch.equal(x.logp_BT, logp)
    with pytest.raises(KeyError, match=r"entropy.*student.*not asked for"):
        _ = x.entropy_BT
    with pytest.raises(KeyError, match="whole distribution was not asked for"):
        _ = x.rows


def test_an_unknown_request_is_an_error(views):
    with pytest.raises(KeyError, match="perplexity"):
        views.scores().student.read(("perplexity",))


def test_pool_is_the_valid_values_in_row_order(views):
    scores = views.scores()
    x_BT = torch.arange(30).reshape(6, 5)
    expected = [
        x for row, keep in zip(x_BT, scores.mask_BT, strict=True) for x in row[keep].tolist()
    ]
    assert scores.pool(x_BT).tolist() == expected
    assert torch.equal(scatter(scores.pool(x_BT), scores.mask_BT), x_BT * scores.mask_BT)


def test_logits_alone_are_enough(views):
    logits = {name: views.logits[name] for name in ("student", "teacher")}
    scores = Scores.from_logits(**logits, ids=views.batch["ids"], mask=views.batch["mask"].int())
    assert scores.mask_BT.dtype == torch.bool
    assert scores.views.keys() == {"student", "teacher"}
    for x in (scores.author_BT, scores.reward_B, scores.group_B):
        assert not x.any()
    again = Scores.from_logits(**logits, ids=views.batch["ids"], mask=views.batch["mask"])
    assert torch.equal(scores.uniform_BT, again.uniform_BT)  # seeded gate draws
    assert 0 < scores.uniform_BT.std() < 0.5
    assert (scores.step, scores.steps, scores.carry) == (0, 1, {})


def test_scores_carry_no_gradient(views):
    leaves = {name: x.requires_grad_() for name, x in views.logits.items()}
    scores = Scores.from_logits(**leaves, **views.batch)
    assert not scores.student.logp_BT.requires_grad
    assert not scores.teacher.kl("student").requires_grad
