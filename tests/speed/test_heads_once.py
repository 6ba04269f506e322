"""No logit is made twice, and memory does not grow with tokens times ids."""

from collections import Counter

import pytest
import torch
from meters import peak
from two_heads import EVERY_BT, IDS_BT, B, H, N, V, World, ids_at_once

from gndpo.heads import Head
from gndpo.rows import ALL
from gndpo.views import make_views


@pytest.fixture
def made(monkeypatch):
    """Numbers of logits that were made, by head, in units of its N * V."""
    counts = Counter()
    logits = Head.logits

    def counting(self, hidden_NH, ids=ALL):
        out = logits(self, hidden_NH, ids)
        counts[self.linear.in_features] += out.numel() / (N * V)
        return out

    monkeypatch.setattr(Head, "logits", counting)
    return counts


STUDENT, TEACHER = H, 7


@pytest.mark.parametrize("chunk", [None, 5])
@pytest.mark.parametrize(
    ("name", "knobs", "student", "teacher"),
    [
        ("raw_kl", {}, 2, 0),  # once more in the backward pass
        ("full_kl", {}, 1, 1),
        ("full_kl", {"direction": 0.5}, 1, 1),
        ("trust_region", {"k": 3}, 2, 0),  # sampled tokens, outliers and guidance together
        ("sft", {}, 2, 0),
        ("language_steering", {"lam": 0.0, "gamma": 0.0}, 2, 2),  # the target's student, too
    ],
)
def test_an_update_makes_every_logit_once(
    make_strategy, made, monkeypatch, chunk, name, knobs, student, teacher
):
    ids_at_once(monkeypatch, 7)
    world = World(chunk=chunk)
    signal = make_strategy(name, **knobs)(world.scores)
    current = world.current("student")
    world.loss(current, signal)  # what scoring finds out is known now
    made.clear()
    world.loss(current, signal).backward()
    assert made[STUDENT] == pytest.approx(student)
    assert made[TEACHER] == pytest.approx(teacher)


def test_another_view_is_only_read_where_it_counts(make_strategy, made):
    """decomposed: the language term acts on 3 of 12 tokens. Of the student the update reads all
    tokens as image and as the target's text; of the teacher all twice for the target."""
    world = World()
    signal = make_strategy("decomposed", gate_quantile=0.75)(world.scores)
    gated = int(
        next(m for m in signal.matches if m.view == "student_text").weight_BT.count_nonzero()
    )
    assert gated == 3
    current = world.current("student", "student_text")
    made.clear()
    world.loss(current, signal).backward()
    assert made[STUDENT] == pytest.approx(2 + gated / N)
    assert made[TEACHER] == pytest.approx(2 + gated / N)
    assert current["student_text"].hidden_NH.grad.any(-1).sum() == gated


@pytest.mark.parametrize("chunk", [None, 5])
def test_all_requests_of_a_view_are_one_reading(made, chunk):
    world = World(chunk=chunk)
    view = make_views(IDS_BT, EVERY_BT, world.views)["teacher"]
    made.clear()
    requests = [("logp",), ("entropy",), ("top_k_ids", 3), ("top_k_logp", 3), ("kl", "student")]
    view.read_all(requests)
    assert made == pytest.approx({TEACHER: 1, STUDENT: 1})
    view.read_all(requests)
    assert made == pytest.approx({TEACHER: 1, STUDENT: 1})
    alone = make_views(IDS_BT, EVERY_BT, world.views)["teacher"]
    for request in requests:
        torch.testing.assert_close(alone.read(request), view.known[request], atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", ["raw_kl", "full_kl"])
def test_memory_does_not_grow_with_tokens_times_ids(make_strategy, monkeypatch, name):
    """Four times the tokens, 32 rows of logits at a time: less than a twentieth of a float32 matrix
    of those that came."""
    ids_at_once(monkeypatch, 250)
    measured = []
    for answers in (40 * B, 160 * B):
        world = World(dtype=torch.float, chunk=32, answers=answers, ids=2000)
        signal = make_strategy(name)(world.scores)
        current = world.current("student")
        with peak() as found:
            world.loss(current, signal).backward()
        measured += found
    assert measured[1] - measured[0] < 4 * 120 * N * 2000 / 20
