"""EOPD: golden vector, its limit raw_kl, and an unbiased sum of two divergences."""

import functools

import pytest
import torch
from golden import BATCH, LOGITS, close
from hypothesis import given
from hypothesis import strategies as st
from torch import tensor

from gndpo.scores import STUDENT, TEACHER, Scores


@pytest.fixture(scope="session")
def eopd(make_strategy):
    return functools.partial(make_strategy, "eopd", k=2)


@pytest.mark.parametrize(
    ("threshold", "gate", "losses"),
    [
        (0.8, [1, 1, 1], [-0.14834341, 0.56170887, 6.28487696]),
        (1.0, [0, 1, 1], [-0.49182998, 0.56170887, 6.28487696]),
    ],
)
def test_golden_losses(eopd, outcome, threshold, gate, losses):
    """Teacher entropies 0.9357, 1.3553 and 1.1309 nats."""
    assert eopd(threshold=threshold)(Scores.from_logits(**LOGITS, **BATCH)).notes[
        "gate"
    ].tolist() == [gate]
    for t, loss in enumerate(losses):
        logits = {view: x[:, t : t + 1] for view, x in LOGITS.items()}
        batch = {key: x[:, t : t + 1] for key, x in BATCH.items()}
        done = outcome(eopd(threshold=threshold), logits, **batch)
        assert done.value == pytest.approx(loss, abs=1e-6)


@given(seed=st.integers(0, 10_000))
def test_without_alpha_it_is_raw_kl(eopd, make_strategy, outcome, dense, seed):
    views = dense(seed)
    done = outcome(eopd(alpha=0.0), views.logits, **views.batch)
    assert done.signal.matches == ()
    plain = outcome(make_strategy("raw_kl"), views.logits, **views.batch)
    close(done.gradients["student"], plain.gradients["student"], 1e-12)
    closed = outcome(eopd(threshold=99.0), views.logits, **views.batch)
    close(closed.gradients["student"], plain.gradients["student"], 1e-12)


@pytest.mark.parametrize("t", range(3))
@pytest.mark.parametrize("threshold", [0.8, 1.0])
def test_it_estimates_the_gradient_of_both_divergences(eopd, outcome, t, threshold):
    """Enumerated over the ids: reverse KL, and alpha times the forward KL on the top 2 where H_T is
    large enough."""
    V, alpha = 5, 0.7
    logits = {view: x[:, t : t + 1].expand(V, 1, V) for view, x in LOGITS.items()}
    batch = {"ids": torch.arange(V)[:, None], "mask": torch.ones(V, 1)}
    strategy = eopd(alpha=alpha, threshold=threshold)
    done = outcome(strategy, logits, aggregation="sequence_mean_token_sum", **batch)
    p, q = (logits[view][0, 0].softmax(-1) for view in ("student", "teacher"))
    top_q, R = q.where(q >= q.topk(2).values[-1], 0.0), (q / p).log()
    forward = (top_q.sum() * p - top_q) * float(-(q * q.log()).sum() >= threshold)
    reverse = p * (-R - (p * -R).sum())
    close(V * p @ done.gradients["student"][:, 0], reverse + alpha * forward, 1e-12)


def test_an_equal_student_is_pulled_into_the_top_k(eopd, outcome):
    equal = dict.fromkeys(LOGITS, LOGITS["teacher"])
    strategy = eopd(alpha=0.7, threshold=1.0)
    done = outcome(strategy, equal, aggregation="sequence_mean_token_sum", **BATCH)
    assert done.value == pytest.approx(0, abs=1e-12)
    m = LOGITS["teacher"].softmax(-1).topk(2).values.sum(-1)
    gate = tensor([[0.0, 1.0, 1.0]]).double()
    close(done.gradients["student"].abs().sum(-1), 0.7 * gate * 2 * m * (1 - m), 1e-12)


def test_only_the_students_tokens_are_judged(eopd):
    author = tensor([[TEACHER, TEACHER, STUDENT]])
    signal = eopd()(Scores.from_logits(**LOGITS, **BATCH, author=author))
    assert not signal.advantage_BT[0, :2].any()
    assert signal.matches[0].weight_BT.tolist() == [[0, 0, 1]]
