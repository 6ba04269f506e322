"""TrOPD without prefixes: golden vector G1 in every arm, gradients included, and what defines the
gate."""

import functools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import tensor

from gndpo.scores import Scores

LOGITS = {
    "student": tensor(
        [[[1.0, 0.5, 0.0, -0.5, -1.0], [0.0, 1.0, 0.5, 0.0, -1.0], [0.5, -1.0, 1.0, 0.0, 2.0]]]
    ).double(),
    "teacher": tensor(
        [[[2.0, 0.0, 0.5, -1.0, -2.0], [0.5, 1.0, 1.5, -1.0, 0.0], [2.0, 1.0, 0.0, 0.5, -3.0]]]
    ).double(),
}
BATCH = {
    "ids": tensor([[0, 1, 4]]),
    "mask": tensor([[1, 1, 1]]),
    "uniform": tensor([[0.9, 0.3, 0.2]]).double(),
}
FLOOR = -0.84729786  # log(0.3 / 0.7)
TRUSTED = [  # d loss / d logits of the accepted tokens, in every arm
    [-0.09366811, 0.04262407, 0.02585281, 0.01568052, 0.00951072],
    [-0.02062450, 0.08284037, -0.03400405, -0.02062450, -0.00758733],
]
FKL_2 = [  # at every token: teacher renormalized on its top 2, student not
    [-0.12963965, 0.08666424, -0.00824399, 0.03188199, 0.01933741],
    [0.04949356, 0.00869056, -0.12588535, 0.04949356, 0.01820766],
    [-0.20181052, -0.08030341, 0.06904131, 0.02539888, 0.18767374],
]
OPD_2 = [-0.20835090, -0.04648937, -0.34351255, -0.12637121, 0.72472402]


def close(actual, expected, atol=1e-6):
    torch.testing.assert_close(
        actual, torch.as_tensor(expected, dtype=torch.double), atol=atol, rtol=0
    )


@pytest.fixture(scope="session")
def trust_region(make_strategy):
    return functools.partial(make_strategy, "trust_region", k=2)


def test_golden_tropd(trust_region, outcome):
    done = outcome(trust_region(), LOGITS, **BATCH)
    assert done.signal.notes["accepted"].tolist() == [[1, 1, 0]]
    close(done.signal.advantage_BT, [[0.49182998, -0.41671070, 0.0]])
    assert done.value == pytest.approx(0.60684256, abs=1e-6)
    assert done.loss.parts["outlier"].item() == pytest.approx(1.89564696 / 3, abs=1e-6)
    close(done.gradients["student"][0], [*TRUSTED, FKL_2[2]])


@pytest.mark.parametrize(("floor", "outside"), [(None, 0.0), (FLOOR, FLOOR)])
def test_golden_mask_and_clip(trust_region, outcome, floor, outside):
    done = outcome(trust_region(k=None, floor=floor), LOGITS, **BATCH)
    close(done.signal.advantage_BT, [[0.49182998, -0.41671070, outside]])
    assert done.signal.matches == ()
    # the policy gradient is linear in the advantage: OPD's is known for R = -4.97546387
    close(done.gradients["student"][0], [*TRUSTED, [x * outside / -4.97546387 for x in OPD_2]])


def test_every_token_accepted_is_raw_kl(trust_region, outcome):
    done = outcome(trust_region(), LOGITS, **BATCH | {"uniform": torch.zeros(1, 3).double()})
    assert done.value == pytest.approx(1.63344820, abs=1e-6)
    close(done.gradients["student"][0], [*TRUSTED, OPD_2])


def test_every_token_rejected_is_top_k_forward_kl(trust_region, outcome):
    done = outcome(trust_region(), LOGITS, **BATCH | {"uniform": torch.ones(1, 3).double()})
    assert done.value == pytest.approx(1.00193510, abs=1e-6)
    close(done.gradients["student"][0], FKL_2)


def test_acceptance_rate_is_one_minus_total_variation(trust_region):
    """Enumerated over the ids with their probabilities, integrated over u on a grid."""
    U, V = 2000, 5
    u_U = (torch.arange(U).double() + 0.5) / U
    expected = [0.72767254, 0.74998101, 0.31183200]
    for t, rate in enumerate(expected):
        logits = {view: x[0, t].expand(V, U, V) for view, x in LOGITS.items()}
        ids_VU = torch.arange(V)[:, None].expand(V, U)
        scores = Scores.from_logits(
            **logits, ids=ids_VU, mask=torch.ones(V, U), uniform=u_U.expand(V, U)
        )
        accepted_V = trust_region()(scores).notes["accepted"].mean(1)
        p_V = LOGITS["student"][0, t].softmax(-1)
        assert (p_V * accepted_V).sum().item() == pytest.approx(rate, abs=1 / U)


def test_rejected_tokens_have_no_other_policy_gradient(trust_region, dense):
    scores = dense(seed=2, B=30).scores()
    signal = trust_region()(scores)
    accepted_BT = signal.notes["accepted"].bool()
    ratio_BT = scores.teacher.logp_BT - scores.student.logp_BT
    assert torch.equal(signal.advantage_BT, ratio_BT * accepted_BT)
    assert torch.equal(signal.matches[0].weight_BT.bool(), scores.mask_BT & ~accepted_BT)
    assert accepted_BT[scores.mask_BT & (ratio_BT >= 0)].all()
    assert (~accepted_BT & scores.mask_BT).any()


@given(seed=st.integers(0, 10_000), k=st.integers(1, 6))
def test_outlier_gradient_by_hand_and_bounded(trust_region, outcome, dense, seed, k):
    """p_j - q_j 1[j in top k], q renormalized: L1 at most 2, even where the student is certain of
    something else."""
    hard = dense(seed, B=3, V=6)
    hard.logits["student"][0, 0] -= (
        1e4 * torch.eye(6).double()[hard.logits["teacher"][0, 0].argmax()]
    )
    rejected = hard.batch | {"uniform": torch.ones(3, 5).double()}
    done = outcome(
        trust_region(k=k), hard.logits, aggregation="sequence_mean_token_sum", **rejected
    )
    q = hard.logits["teacher"].softmax(-1)
    kept = q >= q.topk(k).values[..., -1:]
    q = q.where(kept, 0.0) / q.where(kept, 0.0).sum(-1, keepdim=True)
    p = hard.logits["student"].softmax(-1)
    expected = (p - q) * hard.batch["mask"][..., None] / 3
    close(done.gradients["student"], expected, 1e-10)
    assert done.gradients["student"].abs().sum(-1).max() <= 2 / 3 + 1e-10
