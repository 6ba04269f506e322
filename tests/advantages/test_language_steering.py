"""The control of VGS: golden vector G1, gradients of the three terms written out, and its limit."""

import functools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.advantages.test_decomposed import BATCH, LOGITS, close


@pytest.fixture(scope="session")
def steering(make_strategy):
    """gamma = 2 without the factor eta."""
    recipe = {"gamma": 2.0, "lam": 0.01, "eta": 1.0, "gate_quantile": 0.7}
    return functools.partial(make_strategy, "language_steering", **recipe)


def test_golden_loss(steering, outcome):
    done = outcome(steering(lam=0.0), LOGITS, **BATCH)
    assert done.value == pytest.approx(0.28198815, abs=1e-6)
    per_token = (0.25951930 + 0.30491999 + 0.28175665) / 3
    done = outcome(steering(lam=0.0), LOGITS, aggregation="token_mean", **BATCH)
    assert done.value == pytest.approx(per_token, abs=1e-6)


def test_golden_preservation(steering, outcome):
    """The most visual token alone keeps its image evidence; the mean is over the full length."""
    done = outcome(steering(), LOGITS, **BATCH)
    assert done.loss.parts["visual"].item() == pytest.approx(0.01 * 0.07489017, abs=1e-8)
    assert done.value == pytest.approx(0.28198815 + 0.01 * 0.07489017, abs=1e-6)
    assert done.signal.notes["gate"].tolist() == [[1, 0], [0, 0]]
    scaled = outcome(steering(eta=0.41), LOGITS, **BATCH)
    assert scaled.value == pytest.approx(0.41 * done.value, abs=1e-12)


@given(seed=st.integers(0, 10_000), gamma=st.floats(0, 10), lam=st.floats(0, 2))
def test_both_student_views_are_trained_and_the_visual_target_stands_still(
    steering, outcome, dense, seed, gamma, lam
):
    views = dense(seed, V=7)
    knobs = {"gamma": gamma, "lam": lam, "scope": "sequence"}
    done = outcome(steering(**knobs), views.logits, aggregation="token_mean", **views.batch)
    q_I, q_x = (views.logits[name].log_softmax(-1) for name in ("teacher", "teacher_text"))
    p_I, p_x = (views.logits[name].clone().requires_grad_() for name in ("student", "student_text"))
    star = (p_x.detach().log_softmax(-1) + q_I - q_x).log_softmax(-1)
    gate_BT = done.signal.notes["gate"]
    loss_BT = kl(p_I, q_I) + gamma * kl(p_x, q_x) + lam * gate_BT * kl(p_I, star)
    loss_BT[views.batch["mask"]].mean().backward()
    close(done.gradients["student"], p_I.grad, 1e-12)
    close(done.gradients["student_text"], p_x.grad, 1e-12)


def kl(logits, logq):
    logp = logits.log_softmax(-1)
    return (logp.exp() * (logp - logq)).sum(-1)


def test_without_steering_it_is_full_kl(make_strategy, steering, outcome, dense):
    views = dense(seed=4)
    plain = outcome(make_strategy("full_kl", direction="reverse"), views.logits, **views.batch)
    control = outcome(steering(gamma=0.0, lam=0.0), views.logits, **views.batch)
    assert control.value == pytest.approx(plain.value, abs=1e-12)
    close(control.gradients["student"], plain.gradients["student"], 1e-12)
    assert not control.gradients["student_text"].any()
