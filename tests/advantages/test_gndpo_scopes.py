"""Over what GNDPO takes its mean and deviation, and what a small scope costs."""

import functools

import pytest
import torch
from golden import close
from torch import tensor

from gndpo.errors import UserError
from gndpo.scores import Scores


@pytest.fixture(scope="session")
def gndpo(make_strategy):
    return functools.partial(make_strategy, "gndpo")


def test_the_scope_is_the_whole_step(gndpo, dense):
    """Rows permuted: the same numbers, permuted. Groups scored alone: other numbers."""
    batch = dense(seed=1)
    A_BT = gndpo()(batch.scores()).advantage_BT
    order = torch.tensor([4, 1, 5, 0, 3, 2])
    rows = {key: x[order] for key, x in (batch.logits | batch.batch).items()}
    close(gndpo()(Scores.from_logits(**rows)).advantage_BT, A_BT[order], 1e-12)
    alone = {key: x[:2] for key, x in (batch.logits | batch.batch).items()}
    difference_BT = gndpo()(Scores.from_logits(**alone)).advantage_BT - A_BT[:2]
    assert difference_BT.abs().max() > 0.1


@pytest.mark.parametrize("scope", ["step", 0.9])
def test_one_token_has_no_variance(gndpo, dense, scope):
    one = dense(B=1, T=1)
    with pytest.raises(UserError, match="at least 2 valid answer tokens of the student"):
        gndpo(scope=scope)(one.scores())


def test_each_sequence_is_whitened_alone(gndpo, two_way):
    """Row 0: 0.2, -1, -5 with mean -5.8 / 3 and variance 22.24 / 3; row 1: two values, always
    +-sqrt(1 / 2)."""
    A_BT = gndpo(scope="sequence")(Scores.from_logits(**two_way())).advantage_BT
    close(A_BT[0], [0.78352334, 0.34279146, -1.12631480, 0])
    close(A_BT[1], [-(0.5**0.5), 0.5**0.5, 0, 0])


@pytest.mark.parametrize(("scope", "groups"), [("step", 1), ("group", 3), ("sequence", 6)])
def test_whitened_within_every_cell_of_the_scope_and_in_no_smaller_one(gndpo, dense, scope, groups):
    batch = dense(seed=4, B=6, T=12)
    batch.batch["mask"] = torch.arange(12) < tensor([12, 3, 5, 9, 7, 4])[:, None]
    batch.batch["group"] = torch.arange(6) // 2
    scores = batch.scores()
    A_BT = gndpo(scope=scope, clamp=None)(scores).advantage_BT
    for rows in torch.arange(6).reshape(groups, -1):
        A_n = A_BT[rows][scores.mask_BT[rows]]
        close(A_n.mean(), 0.0)
        close(A_n.var(), 1.0)
    if groups < 6:
        assert A_BT[0][scores.mask_BT[0]].mean().abs() > 1e-3


@pytest.mark.parametrize("scope", ["group", "sequence"])
def test_a_cell_of_one_token_is_centred_to_nothing_and_never_scaled(gndpo, two_way, scope):
    """No variance, no explosion: alone in its prompt and answer, d = 0.2 stays 0.2."""
    batch = two_way() | {"mask": tensor([[1, 1, 1, 0], [1, 0, 0, 0]]), "group": [0, 1]}
    scores = Scores.from_logits(**batch)
    close(gndpo(scope=scope)(scores).advantage_BT[1, 0], 0.0, 1e-8)
    close(gndpo(scope=scope, centre=False)(scores).advantage_BT[1, 0], 0.2, 1e-8)


def test_a_running_scope_starts_as_the_step_scope(gndpo, dense):
    scores = dense(seed=3).scores()
    step, running = gndpo()(scores), gndpo(scope=0.9)(scores)
    assert torch.equal(step.advantage_BT, running.advantage_BT)
    assert not step.carry
    assert running.carry["count"] == scores.mask_BT.sum()


def test_a_running_scope_pools_all_steps_an_older_token_counting_less(gndpo, dense):
    """Three steps by brute force: weights 0.25, 0.5 and 1 over all tokens at once."""
    strategy, carry, seen = gndpo(scope=0.5, clamp=None), {}, []
    for seed in range(3):
        batch = dense(seed)
        scores = Scores.from_logits(**batch.logits, **batch.batch, carry=carry)
        signal = strategy(scores)
        carry = signal.carry
        seen.append(scores.pool(scores.teacher.logp_BT - scores.student.logp_BT))
    d_N = torch.cat(seen)
    w_N = torch.cat(
        [torch.full_like(x_N, 0.5**age) for x_N, age in zip(seen, (2, 1, 0), strict=True)]
    )
    mean = (w_N * d_N).sum() / w_N.sum()
    variance = (w_N * (d_N - mean).square()).sum() / (w_N.sum() - 1)
    close(scores.pool(signal.advantage_BT), (seen[-1] - mean) / variance.sqrt())


@pytest.mark.parametrize("scope", ["step", "group", "sequence", 0.9])
def test_tokens_of_other_authors_get_nothing_and_move_nothing(gndpo, dense, scope):
    """As if they were padding."""
    batch = dense(seed=6, T=6)
    author = (torch.arange(6) >= 2).long().expand(6, 6)
    mixed = Scores.from_logits(**batch.logits, **batch.batch, author=author)
    own = batch.batch | {"mask": batch.batch["mask"] & (author == 0)}
    strategy = gndpo(scope=scope)
    close(
        strategy(mixed).advantage_BT,
        strategy(Scores.from_logits(**batch.logits, **own)).advantage_BT,
        1e-12,
    )


def test_groups_weigh_by_their_own_deviation(gndpo, census):
    group = torch.arange(2).repeat_interleave(20)
    found = census.policy_gradient(gndpo(clamp=None, scope="group"), group=group)
    p_SV, d_SV = census.p_SV, (census.q_SV / census.p_SV).log()
    mean_S1 = (p_SV * d_SV).sum(-1, keepdim=True)
    s2_S1 = (p_SV * (d_SV - mean_S1).square()).sum(-1, keepdim=True) * 20 / 19
    kl_SV = census.gradient_of(lambda p_SV, q_SV: p_SV * (p_SV / q_SV).log())
    close(found, kl_SV / s2_S1.sqrt())
    assert not torch.allclose(s2_S1[0], s2_S1[1], atol=0.05)


def test_the_bias_of_a_mean_that_holds_the_token_itself(gndpo, pairs):
    """Groups of two answers of one token: half the gradient, not the whole."""
    reward_V = torch.zeros(4).double()
    centred, _ = pairs(gndpo(clamp=None, scale=False, scope="group"), reward_V)
    plain, _ = pairs(gndpo(clamp=None, scale=False, centre=False), reward_V)
    close(centred, plain / 2)
    assert plain.abs().max() > 0.1
