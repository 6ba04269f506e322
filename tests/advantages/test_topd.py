"""TOP-D: golden vectors of the mixture and of the return, whitening, limits, and what it
descends."""

import functools
import math

import pytest
import torch
from golden import close
from hypothesis import given
from hypothesis import strategies as st
from torch import tensor

from gndpo.advantages.topd import mean_of_later, proximal
from gndpo.errors import UserError
from gndpo.scores import Scores

ALPHA_2 = [0.11961355, -0.07059166, -0.22141871]
BARE = {"returns": False, "scope": None}


@pytest.fixture(scope="session")
def topd(make_strategy):
    return functools.partial(make_strategy, "topd")


@pytest.mark.parametrize(
    ("alpha", "expected"), [(0.2, ALPHA_2), (0.5, [0.27585215, -0.18680463, -0.68626560])]
)
def test_golden_mixture(topd, three_tokens, alpha, expected):
    signal = topd(alpha=alpha, **BARE)(Scores.from_logits(**three_tokens))
    close(signal.advantage_BT, [expected])


def test_golden_returns_and_their_whitening(topd, three_tokens):
    """The first token gets the mean of what follows, not its sum, which would give -0.172."""
    scores = Scores.from_logits(**three_tokens)
    returns = tensor([-0.02639164, -0.29201037, -0.22141871]).double()
    close(topd(scope=None)(scores).advantage_BT, returns[None])
    whitened = (returns - returns.mean()) / (returns.var() + 1e-8).sqrt()
    close(topd()(scores).advantage_BT, whitened[None])


def test_mixture_by_hand():
    ratio = tensor([3.0, 1.0, 0.1, 0.0]).double()
    close(proximal(ratio.log(), 0.5), [0.693147, 0, -0.597837, -0.693147])


@given(R=st.floats(-1e4, 1e4), alpha=st.floats(0.01, 0.99))
def test_mixture_is_bounded_below_and_keeps_the_sign(R, alpha):
    r = proximal(tensor([R]).double(), alpha).item()
    assert math.log1p(-alpha) - 1e-12 <= r <= max(R, 0.0)
    assert r * R >= 0


def test_nothing_to_learn_is_exactly_nothing():
    """Rounding must leave no constant: whitening would blow it up."""
    for dtype in (torch.float, torch.double):
        for alpha in (0.1, 0.2, 0.3, 0.7):
            assert not proximal(torch.zeros(33, dtype=dtype), alpha).any()


def test_mean_of_later_skips_what_does_not_count():
    x_BT = tensor([[1.0, 9.0, 2.0, 4.0], [5.0, 6.0, 7.0, 8.0]])
    of_BT = tensor([[1, 0, 1, 1], [1, 1, 0, 0]]).bool()
    assert mean_of_later(x_BT, of_BT).tolist() == [[3, 3, 4, 0], [6, 0, 0, 0]]


def test_the_teacher_alone_is_raw_kl(topd, make_strategy, dense):
    scores = dense(seed=1).scores()
    expected = make_strategy("raw_kl")(scores).advantage_BT
    assert torch.equal(topd(alpha=1.0, **BARE)(scores).advantage_BT, expected)


def test_the_whitening_is_that_of_gndpo(topd, make_strategy, dense):
    scores = dense(seed=2).scores()
    for scope in ("step", "group", "sequence"):
        expected = make_strategy("gndpo", clamp=None, scope=scope)(scores).advantage_BT
        close(topd(alpha=1.0, returns=False, scope=scope)(scores).advantage_BT, expected)


def test_a_running_scope_carries(topd, dense):
    batch = dense(seed=2)
    first = topd(scope=0.9)(batch.scores())
    second = topd(scope=0.9)(Scores.from_logits(**batch.logits, **batch.batch, carry=first.carry))
    assert second.carry["count"] == pytest.approx(1.9 * first.carry["count"].item())


def test_tokens_of_other_authors_get_nothing_and_move_nothing(topd, three_tokens):
    scores = Scores.from_logits(**three_tokens, author=tensor([[0, 1, 0]]))
    first = ALPHA_2[0] + ALPHA_2[2]
    close(topd(scope=None)(scores).advantage_BT, [[first, 0, ALPHA_2[2]]])
    close(topd()(scores).advantage_BT, [[0.5**0.5, 0, -(0.5**0.5)]])


@pytest.mark.parametrize("alpha", [0.0, 1.1])
def test_a_share_that_is_none_is_refused(topd, three_tokens, alpha):
    with pytest.raises(UserError, match=rf"alpha={alpha} must be in \(0, 1\]"):
        topd(alpha=alpha)(Scores.from_logits(**three_tokens))


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_it_descends_the_kl_to_the_fixed_mixture(topd, census, alpha):
    mixture_SV = alpha * census.q_SV + (1 - alpha) * census.p_SV
    found = census.policy_gradient(topd(alpha=alpha, **BARE))
    close(found, census.gradient_of(lambda p_SV, _: p_SV * (p_SV / mixture_SV).log()))


def every_answer(T, V=3):
    """Random conditionals of all V^T answers: ids [B, T], and student and teacher logits [B, T,
    V] that depend on what was written before."""
    ids_BT = torch.cartesian_prod(*[torch.arange(V)] * T)
    generator = torch.Generator().manual_seed(0)
    tables = torch.randn(2, T, V**T, V, generator=generator, dtype=torch.double)
    before_BT = torch.stack([ids_BT[:, :t] @ V ** torch.arange(t) for t in range(T)], 1)
    return ids_BT, before_BT, *tables


@pytest.mark.parametrize(("T", "exact"), [(2, True), (3, False)])
def test_returns_descend_the_kl_of_an_answer_of_two_tokens_only(topd, outcome, T, exact):
    """Summed over all answers with their probabilities. With a third token its mean is too
    small."""
    ids_BT, before_BT, student, teacher = every_answer(T)
    student.requires_grad_()
    t_T = torch.arange(T)
    p = student[t_T, before_BT].log_softmax(-1)
    q = teacher[t_T, before_BT].log_softmax(-1)
    logp_BT, logq_BT = (x.gather(-1, ids_BT[..., None])[..., 0] for x in (p, q))
    mixture_BT = (0.2 * logq_BT.exp() + 0.8 * logp_BT.exp()).log().detach()
    kl = (logp_BT.sum(-1).exp() * (logp_BT - mixture_BT).sum(-1)).sum()
    (expected,) = torch.autograd.grad(kl, student, retain_graph=True)
    logits = {"student": p.detach(), "teacher": q}
    done = outcome(topd(scope=None), logits, ids=ids_BT, mask=torch.ones_like(ids_BT))
    weighted_BT = logp_BT.sum(-1, keepdim=True).exp().detach() * done.signal.advantage_BT
    (found,) = torch.autograd.grad(-(weighted_BT * logp_BT).sum(), student)
    assert torch.allclose(found, expected, atol=1e-9) == exact
    assert (found - expected).abs().max() < 0.1
