"""AOPD: golden vector, its limits raw_kl and forward KL, and what its gate leaves out."""

import functools

import pytest
import torch
from golden import BATCH, LOGITS, close
from hypothesis import given
from hypothesis import strategies as st
from torch import tensor

from gndpo.errors import UserError
from gndpo.scores import STUDENT, TEACHER, Scores


@pytest.fixture(scope="session")
def aopd(make_strategy):
    return functools.partial(make_strategy, "aopd")


def test_golden_loss_and_gradient(aopd, outcome):
    done = outcome(aopd(k=2), LOGITS, **BATCH)
    assert done.signal.notes["gate"].tolist() == [[0, 1, 1]]
    close(done.signal.advantage_BT, [[0.49182998, 0, 0]])
    assert done.value == pytest.approx((-0.49182998 + 0.14499817 + 1.30941310) / 3, abs=1e-6)
    close(
        done.gradients["student"][0, 0],
        [-0.09366811, 0.04262407, 0.02585281, 0.01568052, 0.00951072],
    )
    close(
        done.gradients["student"][0, 2],
        [-0.15928406, -0.06338150, 0.05449260, 0.02004671, 0.14812625],
    )


@given(seed=st.integers(0, 10_000))
def test_limits(aopd, make_strategy, outcome, dense, seed):
    """threshold -1 is raw_kl, 1 the forward KL at every token; 0 with k = V the static form of
    trust_region, whose teacher is renormalized."""
    views = dense(seed, V=6)

    def gradient(strategy):
        return outcome(strategy, views.logits, **views.batch).gradients["student"]

    close(gradient(aopd(threshold=-1.0, k=3)), gradient(make_strategy("raw_kl")), 1e-12)
    forward = make_strategy("full_kl", direction="forward")
    close(gradient(aopd(threshold=1.0, k=6)), gradient(forward), 1e-12)
    static = make_strategy("trust_region", gate=0.0, k=6)
    close(gradient(aopd(threshold=0.0, k=6)), gradient(static), 1e-12)


@pytest.mark.parametrize("t", range(3))
@pytest.mark.parametrize("threshold", [0.0, -0.05, 0.1])
def test_expected_gradient_and_its_bias(aopd, outcome, t, threshold):
    """Enumerated over the ids: the policy gradient of the ungated ones, and the forward KL's times
    the probability of the gate; far from the reverse KL's."""
    V = 5
    logits = {view: x[:, t : t + 1].expand(V, 1, V) for view, x in LOGITS.items()}
    batch = {"ids": torch.arange(V)[:, None], "mask": torch.ones(V, 1)}
    strategy = aopd(threshold=threshold, k=2)
    done = outcome(strategy, logits, aggregation="sequence_mean_token_sum", **batch)
    p, q = (logits[view][0, 0].softmax(-1) for view in ("student", "teacher"))
    expected = V * p @ done.gradients["student"][:, 0]
    gated, R = q - p <= threshold, (q / p).log()
    kept = -((~gated) * p * R) @ (torch.eye(V).double() - p)
    top_q = q.where(q >= q.topk(2).values[-1], 0.0)
    pull = top_q.sum() * p - top_q
    close(expected, kept + p[gated].sum() * pull, 1e-12)
    reverse = p * (-R - (p * -R).sum())
    assert (kept - reverse).norm() > 0.1 * reverse.norm()


def test_an_equal_student_is_pulled_into_the_top_k(aopd, outcome):
    equal = dict.fromkeys(LOGITS, LOGITS["teacher"])
    done = outcome(aopd(k=2), equal, aggregation="sequence_mean_token_sum", **BATCH)
    assert done.value == pytest.approx(0, abs=1e-12)
    m = LOGITS["teacher"].softmax(-1).topk(2).values.sum(-1)
    close(done.gradients["student"].abs().sum(-1), 2 * m * (1 - m), 1e-12)


def test_only_the_students_tokens_are_judged(aopd):
    author = tensor([[TEACHER, TEACHER, STUDENT]])
    signal = aopd(k=2)(Scores.from_logits(**LOGITS, **BATCH, author=author))
    assert not signal.advantage_BT[0, :2].any()
    assert signal.matches[0].weight_BT.tolist() == [[0, 0, 1]]


@pytest.mark.parametrize("threshold", [-1.5, 2.0])
def test_no_difference_of_probabilities_is_that_large(aopd, dense, threshold):
    with pytest.raises(UserError, match=f"threshold={threshold}, .* must be in -1..1"):
        aopd(threshold=threshold)(dense().scores())
