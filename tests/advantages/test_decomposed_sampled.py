"""VGS on sampled tokens: golden vector G1, and by enumeration the gradient of `decomposed`."""

import functools

import pytest
import torch
from torch import tensor

from gndpo.scores import STUDENT, TEACHER, Scores
from tests.advantages.test_decomposed import BATCH, LOGITS, close

A = [[0.52965728, 0.06308284], [-0.88589442, 0]]


@pytest.fixture(scope="session")
def sampled(make_strategy):
    return functools.partial(make_strategy, "decomposed_sampled", gamma=2.0)


@pytest.mark.parametrize(("eta", "factor"), [(0.41, 1.23), (1.0, 3.0)])
def test_golden_advantage(sampled, eta, factor):
    signal = sampled(eta=eta)(Scores.from_logits(**LOGITS, **BATCH))
    close(signal.advantage_BT, factor * tensor(A, dtype=torch.double))
    assert signal.matches == ()


def test_the_clamp_acts_on_the_bracket(sampled):
    signal = sampled(eta=1.0, clamp=0.5)(Scores.from_logits(**LOGITS, **BATCH))
    close(signal.advantage_BT, [[3 * 0.5, 3 * 0.06308284], [-3 * 0.5, 0]])
    assert signal.notes["clamped"].tolist() == [[1, 0], [1, 0]]


def test_tokens_of_others_have_no_advantage(sampled):
    author = tensor([[STUDENT, TEACHER], [STUDENT, STUDENT]])
    signal = sampled(eta=1.0)(Scores.from_logits(**LOGITS, **BATCH, author=author))
    close(signal.advantage_BT, [[3 * 0.52965728, 0], [3 * -0.88589442, 0]])


def enumerated(outcome, strategy, logits):
    """E_{y ~ p_I}[-A(y) grad log p_I(y)] of one token, summed over the whole vocabulary."""
    V = logits["student"].shape[-1]
    every = {view: x.expand(V, 1, V) for view, x in logits.items()}
    batch = {"ids": torch.arange(V)[:, None], "mask": torch.ones(V, 1)}
    done = outcome(strategy, every, aggregation="sequence_mean_token_sum", **batch)
    p_V = logits["student"][0, 0].softmax(-1)
    return (V * p_V[:, None] * done.gradients["student"][:, 0]).sum(0)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 1e3])
def test_expectation_is_the_gradient_of_decomposed(make_strategy, sampled, outcome, dense, gamma):
    """eta (1 + gamma) grad KL(p_I || m): the missing log Z_m is the same for every token."""
    one = dense(seed=3, B=1, T=1, V=7)
    expected = enumerated(outcome, sampled(gamma=gamma, eta=0.41), one.logits)
    dense_form = make_strategy("decomposed", gamma=gamma, lam=0.0, eta=0.41)
    exact = outcome(dense_form, one.logits, ids=tensor([[0]]), mask=tensor([[1]]))
    close(expected, exact.gradients["student"][0, 0], 1e-12 * (1 + gamma))
    logp = {view: x.log_softmax(-1)[0, 0] for view, x in one.logits.items()}
    prior = gamma / (1 + gamma) * (logp["student_text"] - logp["teacher_text"])
    leaf = one.logits["student"][0, 0].clone().requires_grad_()
    logp_V = leaf.log_softmax(-1)
    m_V = (logp["teacher"] + prior).log_softmax(-1)
    (0.41 * (1 + gamma) * (logp_V.exp() * (logp_V - m_V)).sum()).backward()
    close(expected, leaf.grad, 1e-12 * (1 + gamma))


def test_a_clamp_biases_the_expectation(sampled, outcome):
    """Golden token (1, 0), bracket d and gradient p_v (E[d] - d_v) by hand, d clipped to 0.5."""
    one = {view: x[1:, :1] for view, x in LOGITS.items()}
    plain, clamped = (enumerated(outcome, sampled(eta=1.0, clamp=c), one) for c in (None, 0.5))
    logp = {view: x.log_softmax(-1)[0, 0] for view, x in one.items()}
    d_V = logp["teacher"] - logp["student"] + 2 / 3 * (logp["student_text"] - logp["teacher_text"])
    p_V = logp["student"].exp()
    for found, bracket_V in ((plain, d_V), (clamped, d_V.clamp(-0.5, 0.5))):
        close(found, 3 * p_V * ((p_V * bracket_V).sum() - bracket_V), 1e-12)
    assert (plain - clamped).abs().max() > 0.1


def test_without_steering_it_is_raw_kl(make_strategy, sampled, dense):
    scores = dense(seed=4).scores()
    plain = make_strategy("raw_kl", clamp=5.0)(scores).advantage_BT
    assert torch.equal(sampled(gamma=0.0, eta=1.0, clamp=5.0)(scores).advantage_BT, plain)
