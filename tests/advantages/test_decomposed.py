"""VGS: golden vector G1 (loss, gradients of both student views, gate), and the identities of the
collapsed form."""

import functools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import tensor

from gndpo.scores import Scores

PAD = [float("nan")] * 4
LOGITS = {
    name: tensor([x[:2], [x[2], PAD]], dtype=torch.double)
    for name, x in {
        "student": [[2.0, 1.0, 0.0, -1.0], [0.5, 0.5, 1.5, -0.5], [-1.0, 0.0, 1.0, 0.5]],
        "student_text": [[1.0, 1.5, 0.0, -0.5], [0.0, 1.0, 1.0, 0.0], [0.0, 0.5, 0.5, 0.0]],
        "teacher": [[3.0, 0.5, -0.5, -1.0], [0.0, 0.0, 2.0, 0.0], [-2.0, 0.5, 2.0, 0.0]],
        "teacher_text": [[1.0, 2.0, 0.0, 0.0], [0.0, 0.5, 1.5, 0.5], [0.5, 0.5, 1.0, 0.0]],
    }.items()
}
BATCH = {"ids": tensor([[0, 2], [3, 0]]), "mask": tensor([[1, 1], [1, 0]])}
CONST = (
    (0.00535277 + 0.04570234) / 2 + 0.01802256
) / 2  # 2 log Z* - 3 log Z_m, mean of the answers
ETA = 0.41


def close(actual, expected, atol=1e-6):
    torch.testing.assert_close(
        actual, torch.as_tensor(expected, dtype=torch.double), atol=atol, rtol=0
    )


@pytest.fixture(scope="session")
def vgs(make_strategy):
    """The paper's 2B recipe."""
    recipe = {"gamma": 2.0, "lam": 0.01, "eta": ETA, "gate_quantile": 0.7}
    return functools.partial(make_strategy, "decomposed", **recipe)


def test_golden_loss(vgs, outcome):
    done = outcome(vgs(), LOGITS, **BATCH)
    assert done.value + ETA * CONST == pytest.approx(0.20121055, abs=1e-6)
    assert done.loss.parts["steered"].item() == pytest.approx(3 * ETA * 0.15630293, abs=1e-6)
    assert done.loss.parts["language"].item() == pytest.approx(0.01 * ETA * 0.00735787, abs=1e-8)
    assert not done.signal.advantage_BT.any()


def test_golden_loss_as_a_mean_over_tokens(vgs, outcome):
    done = outcome(vgs(), LOGITS, aggregation="token_mean", **BATCH)
    const = (0.00535277 + 0.04570234 + 0.01802256) / 3
    assert done.value + ETA * const == pytest.approx(0.19858577, abs=1e-6)


def test_golden_notes(vgs):
    notes = vgs()(Scores.from_logits(**LOGITS, **BATCH)).notes
    close(notes["visual_dependency"], [[1.00158100, 0.09098671], [0.32147955, 0]])
    assert notes["gate"].tolist() == [[1, 0], [0, 0]]


def test_golden_gradients(vgs, outcome):
    gradients = outcome(vgs(), LOGITS, **BATCH).gradients
    image = [
        [
            [-0.12033601, 0.08927355, 0.02390961, 0.00715285],
            [0.02841865, 0.00826593, -0.03231167, -0.00437291],
        ],
        [[0.05946177, -0.03496999, -0.14364235, 0.11915057], [0, 0, 0, 0]],
    ]
    close(gradients["student"], image)
    # q* is detached: text-only logits feel the language term alone, and only where the gate is open
    text = [9.140024854e-05, -1.101212327e-04, 3.362427236e-05, -1.490328822e-05]
    close(gradients["student_text"][0, 0], text, 1e-12)
    assert not gradients["student_text"][0, 1].any()
    assert not gradients["student_text"][1].any()


@given(seed=st.integers(0, 10_000), gamma=st.floats(0, 10))
def test_collapsed_form_has_the_gradient_of_the_literal_one(vgs, outcome, dense, seed, gamma):
    """KL(p_I || q_I) + gamma KL(p_I || q*), q* = softmax(log p_x + log q_I - log q_x)."""
    views = dense(seed, V=7)
    done = outcome(vgs(gamma=gamma, eta=1.0), views.logits, aggregation="token_mean", **views.batch)
    logp = {name: x.log_softmax(-1) for name, x in views.logits.items()}
    star = (logp["student_text"] + logp["teacher"] - logp["teacher_text"]).log_softmax(-1)
    leaf = views.logits["student"].clone().requires_grad_()
    logp_I = leaf.log_softmax(-1)
    literal = (1 + gamma) * logp_I - logp["teacher"] - gamma * star
    per_token_BT = (logp_I.exp() * literal).sum(-1)
    per_token_BT[views.batch["mask"]].mean().backward()
    close(done.gradients["student"], leaf.grad, 1e-12)


def test_without_steering_it_is_full_kl(make_strategy, vgs, outcome, dense):
    views = dense(seed=4)
    vgs_0 = outcome(vgs(gamma=0.0, lam=0.0, eta=1.0), views.logits, **views.batch)
    plain = outcome(make_strategy("full_kl", direction="reverse"), views.logits, **views.batch)
    assert vgs_0.value == pytest.approx(plain.value, abs=1e-12)
    close(vgs_0.gradients["student"], plain.gradients["student"], 1e-12)
    assert not vgs_0.gradients["student_text"].any()


def test_equal_text_priors_only_scale_full_kl(make_strategy, vgs, outcome, dense):
    views = dense(seed=5)
    logits = views.logits | {"student_text": views.logits["teacher_text"]}
    steered = outcome(vgs(eta=1.0), logits, **views.batch)
    plain = outcome(make_strategy("full_kl"), logits, **views.batch)
    assert steered.value == pytest.approx(3 * plain.value, abs=1e-12)
    close(steered.gradients["student"], 3 * plain.gradients["student"], 1e-12)


def test_a_teacher_blind_to_the_image_opens_no_gate(vgs, dense):
    views = dense(seed=6)
    logits = views.logits | {"teacher_text": views.logits["teacher"]}
    notes = vgs()(Scores.from_logits(**logits, **views.batch)).notes
    assert not notes["visual_dependency"].any()
    assert not notes["gate"].any()


@given(seed=st.integers(0, 10_000))
def test_constants_per_position_change_nothing(vgs, outcome, dense, seed):
    views = dense(seed, B=3)
    shift = torch.randn(3, 5, 1, generator=torch.Generator().manual_seed(seed)).double()
    moved = {name: x + i * shift for i, (name, x) in enumerate(views.logits.items())}
    plain, shifted = (outcome(vgs(), x, **views.batch) for x in (views.logits, moved))
    close(shifted.gradients["student"], plain.gradients["student"], 1e-12)
    close(shifted.gradients["student_text"], plain.gradients["student_text"], 1e-12)


def test_gate_opens_on_the_top_share_of_the_step(vgs, dense):
    scores = dense(seed=7, B=40).scores()
    gate_N = scores.pool(vgs()(scores).notes["gate"])
    assert gate_N.mean().item() == pytest.approx(0.3, abs=1 / len(gate_N))


def test_language_term_counts_the_full_length(vgs, outcome):
    """Its weight is 1 / |answer|, not 1 / gated tokens: one open gate of two tokens, one of two
    answers."""
    part = outcome(vgs(lam=1.0, eta=1.0), LOGITS, **BATCH).loss.parts["language"]
    assert part.item() == pytest.approx(0.02943149 / 2 / 2, abs=1e-6)
