"""VGS: golden vector G1 (loss, gradients of both student views, gate, adaptive strength), and the
identities of the collapsed form."""

import functools

import numpy as np
import pytest
import torch
from golden import close
from hypothesis import given
from hypothesis import strategies as st
from torch import tensor

from gndpo.errors import UserError
from gndpo.loss import answer_loss
from gndpo.matches import reader, target_on_vocabulary
from gndpo.rows import DenseHead, Rows
from gndpo.scores import Scores
from gndpo.surrogates import reinforce, token_weights

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


@pytest.mark.parametrize(("lam", "expected"), [(0.0, 0.40927284), (0.01, 0.40934642)])
def test_golden_adaptive_loss(vgs, outcome, lam, expected):
    """gamma_t = 2, 0, 1: the least visual token is not steered, the middle one half."""
    done = outcome(vgs(low_quantile=0.4, lam=lam, eta=1.0), LOGITS, **BATCH)
    close(done.signal.matches[0].weight_BT, [[3, 1], [2, 0]])
    const = (0.00535277 / 2 + 0.01337943) / 2  # gamma_t log Z* - (1 + gamma_t) log Z_m
    assert done.value + const == pytest.approx(expected, abs=1e-6)


@given(
    seed=st.integers(0, 10_000),
    gamma=st.floats(0, 10),
    low=st.sampled_from([None, 0.0, 0.4, 0.7]),
    scope=st.sampled_from(["step", "group", "sequence"]),
)
def test_collapsed_form_has_the_gradient_of_the_literal_one(
    vgs, outcome, dense, seed, gamma, low, scope
):
    """KL(p_I || q_I) + gamma_t KL(p_I || q*), q* = softmax(log p_x + log q_I - log q_x)."""
    views = dense(seed, V=7)
    knobs = {"gamma": gamma, "low_quantile": low, "scope": scope, "eta": 1.0}
    done = outcome(vgs(**knobs), views.logits, aggregation="token_mean", **views.batch)
    logp = {name: x.log_softmax(-1) for name, x in views.logits.items()}
    star = (logp["student_text"] + logp["teacher"] - logp["teacher_text"]).log_softmax(-1)
    steps_BT = gate_by_hand(views, 0.7, scope) + gate_by_hand(views, low or 0.0, scope)
    gamma_BT1 = gamma * (steps_BT[..., None] / 2 if low is not None else 1)
    leaf = views.logits["student"].clone().requires_grad_()
    logp_I = leaf.log_softmax(-1)
    literal = (1 + gamma_BT1) * logp_I - logp["teacher"] - gamma_BT1 * star
    per_token_BT = (logp_I.exp() * literal).sum(-1)
    per_token_BT[views.batch["mask"]].mean().backward()
    close(done.gradients["student"], leaf.grad, 1e-12)


def gate_by_hand(views, q, scope):
    """Which tokens have more visual dependency than numpy's quantile of their scope."""
    logq, logq_x = (views.logits[name].log_softmax(-1) for name in ("teacher", "teacher_text"))
    visual_BT = (logq.exp() * (logq - logq_x)).sum(-1)
    mask_BT, B = views.batch["mask"], len(visual_BT)
    cells = {"step": [0] * B, "group": views.batch["group"].tolist(), "sequence": range(B)}[scope]
    gate_BT = torch.zeros_like(visual_BT)
    for cell in set(cells):
        inside_BT = mask_BT & tensor([other == cell for other in cells])[:, None]
        gate_BT[inside_BT & (visual_BT > np.quantile(visual_BT[inside_BT], q))] = 1
    return gate_BT


@pytest.mark.parametrize("scope", ["step", "group", "sequence"])
def test_the_gate_compares_within_its_scope(vgs, dense, scope):
    views = dense(seed=11, B=12)
    gate_BT = vgs(scope=scope)(views.scores()).notes["gate"]
    assert torch.equal(gate_BT, gate_by_hand(views, 0.7, scope))


@pytest.mark.parametrize(
    ("knobs", "sentence"),
    [
        ({"low_quantile": 0.8}, "low_quantile=0.8 must not exceed gate_quantile=0.7"),
        ({"low_quantile": -0.1}, "must lie in 0..1"),
        ({"gate_quantile": 1.5}, "must lie in 0..1"),
        ({"scope": "batch"}, "choose one of step, group, sequence"),
    ],
)
def test_quantiles_that_cannot_be_are_refused(vgs, dense, knobs, sentence):
    with pytest.raises(UserError, match=sentence):
        vgs(**knobs)(dense().scores())


def test_an_endless_gamma_leaves_the_visual_target_alone(vgs):
    """m -> q*, the golden one; and where the image tells the teacher nothing, q* is p_x."""
    star = [
        [0.91651178, 0.04563043, 0.02767626, 0.01018153],
        [0.12925005, 0.21309730, 0.57925853, 0.07839412],
        [0.01138094, 0.22859235, 0.62137844, 0.13864827],
    ]
    scores = Scores.from_logits(**LOGITS, **BATCH)
    match = vgs(gamma=1e9)(scores).matches[0]
    index_N = torch.arange(3)
    target = target_on_vocabulary(match, scores, index_N, reader(scores, index_N))
    close(target.exp(), star, 1e-8)
    blind = Scores.from_logits(**LOGITS | {"teacher_text": LOGITS["teacher"]}, **BATCH)
    target = target_on_vocabulary(match, blind, index_N, reader(blind, index_N))
    close(target, blind.student_text.rows.log_probs(), 1e-8)


def test_splitting_the_step_changes_nothing(vgs, outcome, dense, piece):
    """Quantiles and denominators are the step's, not the microbatch's."""
    views = dense(seed=12)
    whole = outcome(vgs(low_quantile=0.4), views.logits, **views.batch)
    weight_BT = token_weights(whole.scores.mask_BT, "sequence_mean_token_mean")
    total = 0.0
    for part in (slice(0, 1), slice(1, 4), slice(4, 6)):
        valid_bT = whole.scores.mask_BT[part]
        current = {
            view: Rows(views.logits[view][part][valid_bT], DenseHead())
            for view in ("student", "student_text")
        }
        args = (whole.scores, whole.signal, reinforce, weight_BT, piece(part, whole.scores))
        total += answer_loss(current, *args).total.item()
    assert total == pytest.approx(whole.value, abs=1e-12)


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
