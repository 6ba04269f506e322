"""The smoothly bounded log-ratio: numbers by hand, bounds, its limit, and what it descends."""

import functools
import math

import pytest
import torch
from golden import close
from hypothesis import given
from hypothesis import strategies as st
from torch import tensor

from gndpo.errors import UserError
from gndpo.scores import Scores

R = [0.49182998, -0.41671070, -4.97546387]


@pytest.fixture(scope="session")
def tanh(make_strategy):
    return functools.partial(make_strategy, "tanh")


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_golden_advantage(tanh, three_tokens, scale):
    """tanh(x / 2) = (e^x - 1) / (e^x + 1), of the known ratios."""
    signal = tanh(scale=scale)(Scores.from_logits(**three_tokens))
    squares = [math.exp(2 * r / scale) for r in R]
    close(signal.advantage_BT, [[scale * (x - 1) / (x + 1) for x in squares]])


def test_a_number_by_hand(tanh, three_tokens):
    """R = 0.49182998 is a ratio of 1.63530606: (1.6353^2 - 1) / (1.6353^2 + 1)."""
    A_BT = tanh()(Scores.from_logits(**three_tokens)).advantage_BT
    close(A_BT[0, 0], (1.63530606**2 - 1) / (1.63530606**2 + 1))


@given(seed=st.integers(0, 10_000), scale=st.floats(0.1, 10))
def test_bounded_and_in_the_order_of_the_log_ratio(tanh, dense, seed, scale):
    scores = dense(seed, scale=6.0).scores()
    A_N = scores.pool(tanh(scale=scale)(scores).advantage_BT)
    R_N = scores.pool(scores.teacher.logp_BT - scores.student.logp_BT)
    assert A_N.abs().max() <= scale
    assert (A_N.abs() <= R_N.abs()).all()
    assert (A_N[R_N.argsort()].diff() >= 0).all()


def test_a_large_scale_is_raw_kl(tanh, make_strategy, dense):
    scores = dense(seed=1).scores()
    close(tanh(scale=1e6)(scores).advantage_BT, make_strategy("raw_kl")(scores).advantage_BT)


def test_tokens_of_other_authors_get_nothing(tanh, three_tokens):
    scores = Scores.from_logits(**three_tokens, author=tensor([[1, 0, 2]]))
    assert (tanh()(scores).advantage_BT != 0).tolist() == [[False, True, False]]


def test_a_scale_that_is_none_is_refused(tanh, three_tokens):
    with pytest.raises(UserError, match="scale=0 must be larger than 0"):
        tanh(scale=0)(Scores.from_logits(**three_tokens))


def test_it_descends_an_f_divergence(tanh, census):
    exact = census.gradient_of(lambda p_SV, q_SV: q_SV * (math.pi / 2 - 2 * (p_SV / q_SV).atan()))
    close(census.policy_gradient(tanh()), exact)


def test_the_f_divergence_is_least_where_both_agree(census):
    for q_V in census.q_SV:
        for t in torch.linspace(0.05, 1, 9).double():
            p_V = q_V.lerp(census.p_SV[0], t)
            assert (q_V * (math.pi / 2 - 2 * (p_V / q_V).atan())).sum() > 0
