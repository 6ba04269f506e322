"""GRPO: the golden vector, what it does not read, and what it descends."""

import functools

import pytest
import torch
from golden import close
from torch import tensor

from gndpo.reads import dry_run
from gndpo.scores import Scores

REWARDS = tensor([1.0, 0.9, 0.1, 0.0], dtype=torch.double)
GOLDEN = tensor([0.95636324, 0.76509059, -0.76509059, -0.95636324], dtype=torch.double)


@pytest.fixture(scope="session")
def grpo(make_strategy):
    return functools.partial(make_strategy, "grpo")


def scores_of(reward, group=None, author=None):
    """Answers of three tokens, the last one of row 0 padding."""
    B = len(reward)
    logits = torch.zeros(B, 3, 2).double()
    mask = torch.ones(B, 3)
    mask[0, 2] = 0
    ids = torch.zeros(B, 3, dtype=torch.long)
    return Scores.from_logits(logits, logits, ids, mask, reward=reward, group=group, author=author)


def test_golden_advantage_constant_along_the_answer(grpo):
    expected = GOLDEN[:, None].expand(4, 3).clone()
    expected[0, 2] = 0
    close(grpo()(scores_of(REWARDS)).advantage_BT, expected)


def test_without_the_deviation(grpo):
    close(grpo(scale=False)(scores_of(REWARDS)).advantage_BT[:, 0], [0.5, 0.4, -0.4, -0.5])


def test_every_prompt_is_its_own_yardstick_whatever_the_lengths(grpo):
    """The deviation is over answers, not tokens: padding a row changes nothing. Groups may lie
    apart."""
    reward = torch.cat([REWARDS, REWARDS / 10 + 3])[[0, 4, 1, 5, 2, 6, 3, 7]]
    A_BT = grpo()(scores_of(reward, group=[0, 1] * 4)).advantage_BT
    close(A_BT[::2, 0], GOLDEN)
    close(A_BT[1::2, 0], GOLDEN, 2e-5)  # eps counts ten times as much


@pytest.mark.parametrize("scale", [True, False])
def test_the_only_answer_of_a_prompt_gets_nothing(grpo, scale):
    A_BT = grpo(scale=scale)(scores_of(tensor([0.7, 1.0, 0.0]), group=[0, 1, 1])).advantage_BT
    assert A_BT[0].tolist() == [0, 0, 0]
    assert A_BT[1, 0] > 0 > A_BT[2, 0]


def test_rounding_of_equal_rewards_is_no_signal(grpo):
    """In float32 it is one: 0.9 eight times, deviation 6e-8, gives 0.056 over eps."""
    equal = torch.full((8,), 0.9)
    assert ((equal - equal.mean()) / (equal.std() + 1e-6)).abs().max() > 0.05
    close(grpo()(scores_of(equal)).advantage_BT, torch.zeros(8, 3), 1e-9)


def test_eps_is_added_to_the_deviation(grpo):
    close(grpo(eps=1.0)(scores_of(REWARDS)).advantage_BT[0, 0], 0.5 / 1.52281290)


def test_tokens_of_other_authors_get_nothing(grpo):
    author = tensor([[1, 0, 0]] * 4)
    A_BT = grpo()(scores_of(REWARDS, author=author)).advantage_BT
    close(A_BT[:, 0], torch.zeros(4))
    close(A_BT[:, 1], GOLDEN)


def test_no_view_is_read(grpo):
    reads = dry_run(grpo(), 11)
    assert all(requests == {("logp",)} for requests in reads.requests.values())  # for metrics
    assert not reads.whole


def expected_reward_gradient(p_V, reward_V):
    """d -E[r] / d logits."""
    return -p_V * (reward_V - (p_V * reward_V).sum())


def test_it_climbs_the_expected_reward(grpo, census):
    """Over the deviation, with it; exactly, without."""
    reward_V = tensor([0.0, 0.1, 0.9, 1.0]).double()
    batch = {
        "group": torch.arange(2).repeat_interleave(20),
        "reward": reward_V[census.ids_SB].flatten(),
    }
    exact = torch.stack([expected_reward_gradient(p_V, reward_V) / 2 for p_V in census.p_SV])
    close(census.policy_gradient(grpo(scale=False), **batch), exact)
    std_S1 = reward_V[census.ids_SB].std(-1, keepdim=True)
    close(census.policy_gradient(grpo(), **batch), exact / (std_S1 + 1e-6))


def test_the_bias_of_a_mean_that_holds_the_answer_itself(grpo, pairs):
    """Groups of two: 1 - 1/2 of the gradient."""
    reward_V = tensor([0.0, 1.0, 0.3]).double()
    found, p_V = pairs(grpo(scale=False), reward_V)
    close(found, expected_reward_gradient(p_V, reward_V) / 2)
