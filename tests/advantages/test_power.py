"""PowerOPD: golden vectors, bounds, its limit, and the divergence that it descends."""

import functools

import pytest
from golden import close
from hypothesis import given
from hypothesis import strategies as st
from torch import tensor

from gndpo.errors import UserError
from gndpo.scores import Scores

R = [0.49182998, -0.41671070, -4.97546387]


@pytest.fixture(scope="session")
def power(make_strategy):
    return functools.partial(make_strategy, "power")


@pytest.mark.parametrize(
    ("alpha", "expected"),
    [
        (1.0, [0.27232746, -0.13754641, -0.55913339]),
        (5.0, [0.15478094, -0.00937745, -0.05657491]),
    ],
)
def test_golden_advantage(power, three_tokens, alpha, expected):
    close(power(alpha=alpha)(Scores.from_logits(**three_tokens)).advantage_BT, [expected])


def test_over_a_small_power_it_is_the_log_ratio(power, three_tokens):
    A_BT = power(alpha=1e-6)(Scores.from_logits(**three_tokens)).advantage_BT
    close(A_BT / 1e-6, [[0.49182968, -0.41671024, -4.97544863]])
    close(A_BT / 1e-6, [R], 2e-5)


@given(seed=st.integers(0, 10_000), alpha=st.floats(0.01, 500))
def test_bounded_and_of_the_sign_of_the_log_ratio(power, dense, seed, alpha):
    scores = dense(seed, scale=6.0).scores()
    A_BT = power(alpha=alpha)(scores).advantage_BT
    assert A_BT.abs().max() <= 1
    assert (A_BT * (scores.teacher.logp_BT - scores.student.logp_BT) >= 0).all()


def test_tokens_of_other_authors_get_nothing(power, three_tokens):
    scores = Scores.from_logits(**three_tokens, author=tensor([[0, 1, 2]]))
    close(power()(scores).advantage_BT, [[0.15478094, 0, 0]])


def test_a_power_that_is_none_is_refused(power, three_tokens):
    with pytest.raises(UserError, match="alpha=0 must be larger than 0"):
        power(alpha=0)(Scores.from_logits(**three_tokens))


@pytest.mark.parametrize("alpha", [0.5, 1.0, 5.0])
def test_it_descends_a_bregman_divergence(power, census, alpha):
    found = census.policy_gradient(power(alpha=alpha))
    exact = census.gradient_of(
        lambda p_SV, q_SV: p_SV ** (alpha + 1) / (alpha + 1) - p_SV * q_SV**alpha
    )
    close(found, exact)


def test_at_power_one_it_is_half_the_squared_distance(power, census):
    exact = census.gradient_of(lambda p_SV, q_SV: (p_SV - q_SV).square() / 2)
    close(census.policy_gradient(power(alpha=1.0)), exact)
