"""Entropy-OPD: which tokens, over which scope, and that the choice is no bias."""

import functools

import pytest
import torch
from golden import close
from torch import tensor

from gndpo.errors import UserError
from gndpo.scores import Scores

R = [0.49182998, -0.41671070, -4.97546387]


@pytest.fixture(scope="session")
def entropy_opd(make_strategy):
    return functools.partial(make_strategy, "entropy_opd")


@pytest.mark.parametrize(("share", "kept"), [(0.2, [0, 1, 0]), (0.5, [1, 1, 0]), (1.0, [1, 1, 1])])
def test_golden_advantage(entropy_opd, three_tokens, share, kept):
    """Student entropy 1.394, 1.436, 1.206."""
    signal = entropy_opd(share=share)(Scores.from_logits(**three_tokens))
    assert signal.notes["kept"].tolist() == [kept]
    close(signal.advantage_BT, [[r * k for r, k in zip(R, kept, strict=True)]])


@pytest.mark.parametrize(("scope", "cells"), [("step", 1), ("group", 3), ("sequence", 6)])
def test_the_share_is_taken_of_every_cell(entropy_opd, dense, scope, cells):
    batch = dense(seed=2, T=10)
    batch.batch["mask"] = torch.ones(6, 10).bool()
    scores = batch.scores()
    kept_BT = entropy_opd(scope=scope)(scores).notes["kept"].bool()
    for rows in torch.arange(6).reshape(cells, -1):
        H_n, kept_n = scores.student.entropy_BT[rows].flatten(), kept_BT[rows].flatten()
        assert kept_n.sum() == len(H_n) // 5
        assert H_n[kept_n].min() > H_n[~kept_n].max()


@pytest.mark.parametrize("scope", ["step", "group", "sequence"])
def test_the_whole_share_is_raw_kl(entropy_opd, make_strategy, dense, scope):
    scores = dense(seed=1).scores()
    expected = make_strategy("raw_kl")(scores).advantage_BT
    assert torch.equal(entropy_opd(share=1.0, scope=scope)(scores).advantage_BT, expected)


def test_tokens_of_other_authors_are_no_part_of_the_share(entropy_opd, three_tokens):
    scores = Scores.from_logits(**three_tokens, author=tensor([[0, 1, 0]]))
    close(entropy_opd()(scores).advantage_BT, [[R[0], 0, 0]])


@pytest.mark.parametrize(
    ("knobs", "message"),
    [({"share": 0.0}, "share=0.0 must be in"), ({"scope": 0.9}, "choose one of step, group")],
)
def test_what_makes_no_sense_is_refused(entropy_opd, three_tokens, knobs, message):
    with pytest.raises(UserError, match=message):
        entropy_opd(**knobs)(Scores.from_logits(**three_tokens))


def test_it_descends_the_kl_where_the_student_is_uncertain(entropy_opd, census):
    found = census.policy_gradient(entropy_opd(share=0.5))
    exact = census.gradient_of(lambda p_SV, q_SV: p_SV * (p_SV / q_SV).log())
    close(found[0], exact[0])
    close(found[1], torch.zeros(4))
