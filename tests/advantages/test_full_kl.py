"""full_kl: reverse, forward and Jensen-Shannon over the whole vocabulary, on the three tokens of
TrOPD's golden vector."""

import pytest
import torch
from torch import tensor

STUDENT = [[1.0, 0.5, 0.0, -0.5, -1.0], [0.0, 1.0, 0.5, 0.0, -1.0], [0.5, -1.0, 1.0, 0.0, 2.0]]
TEACHER = [[2.0, 0.0, 0.5, -1.0, -2.0], [0.5, 1.0, 1.5, -1.0, 0.0], [2.0, 1.0, 0.0, 0.5, -3.0]]
PER_TOKEN = {
    "reverse": [0.23649928, 0.19152478, 2.71509276],
    "forward": [0.19329543, 0.16451855, 1.28142871],
    0.5: [0.05168504, 0.04269838, 0.32195137],
    0.1: [0.01756861, 0.01485696, 0.11235643],
    0.9: [0.02053814, 0.01666809, 0.16021802],
}
KNOBS = list(PER_TOKEN)


@pytest.fixture
def token():
    """token(t): the logits and batch of one token."""

    def one(t, student=STUDENT, teacher=TEACHER):
        logits = {"student": student, "teacher": teacher}
        logits = {view: tensor([[x[t]]], dtype=torch.double) for view, x in logits.items()}
        return logits, {"ids": tensor([[0]]), "mask": tensor([[1]])}

    return one


@pytest.mark.parametrize("direction", KNOBS)
@pytest.mark.parametrize("t", range(3))
def test_golden_value(make_strategy, outcome, token, direction, t):
    logits, batch = token(t)
    done = outcome(make_strategy("full_kl", direction=direction), logits, **batch)
    assert done.value == pytest.approx(PER_TOKEN[direction][t], abs=1e-6)
    assert not done.signal.advantage_BT.any()


@pytest.mark.parametrize("t", range(3))
def test_gradients_by_hand(make_strategy, outcome, token, t):
    """Reverse p_j (r_j - E_p r), r = log p - log q; forward p_j - q_j."""
    logits, batch = token(t)
    p, q = (logits[view][0, 0].softmax(-1) for view in ("student", "teacher"))
    r = p.log() - q.log()
    expected = {"reverse": p * (r - (p * r).sum()), "forward": p - q}
    for direction, gradient in expected.items():
        done = outcome(make_strategy("full_kl", direction=direction), logits, **batch)
        torch.testing.assert_close(done.gradients["student"][0, 0], gradient, atol=1e-12, rtol=0)


def test_jensen_shannon_is_symmetric_in_the_middle_and_tends_to_both_kls(
    make_strategy, outcome, token
):
    def value(direction, **views):
        logits, batch = token(2, **views)
        return outcome(make_strategy("full_kl", direction=direction), logits, **batch).value

    swapped = {"student": TEACHER, "teacher": STUDENT}
    assert value(0.5) == pytest.approx(value(0.5, **swapped), abs=1e-12)
    assert value(1e-6) / 1e-6 == pytest.approx(PER_TOKEN["forward"][2], abs=1e-4)
    assert value(1 - 1e-6) / 1e-6 == pytest.approx(PER_TOKEN["reverse"][2], abs=1e-3)


def test_all_tokens_count_whoever_wrote_them(make_strategy, outcome, dense):
    """GKD trains on student and data answers alike."""
    views, strategy = dense(seed=1), make_strategy("full_kl")
    authors = torch.arange(30).reshape(6, 5) % 3
    own, others = (
        outcome(strategy, views.logits, **views.batch, author=x) for x in (None, authors)
    )
    assert own.value == others.value
    assert torch.equal(own.gradients["student"], others.gradients["student"])


@pytest.mark.parametrize("direction", KNOBS)
def test_two_answers_are_averaged_as_answers(make_strategy, outcome, direction):
    logits = {"student": tensor([STUDENT, STUDENT]), "teacher": tensor([TEACHER, TEACHER])}
    logits = {view: x.double() for view, x in logits.items()}
    mask = tensor([[1, 1, 1], [1, 0, 0]])
    batch = {"ids": tensor([[0, 1, 4], [0, 0, 0]]), "mask": mask}
    a, b, c = PER_TOKEN[direction]
    done = outcome(make_strategy("full_kl", direction=direction), logits, **batch)
    assert done.value == pytest.approx(((a + b + c) / 3 + a) / 2, abs=1e-6)
    assert not done.gradients["student"][1, 1:].any()
