"""TrOPD: golden vectors of continuation and prefix in every arm, gradients included, and what
defines the gate."""

import functools
import math

import pytest
import torch
from golden import LOGITS, close
from hypothesis import given
from hypothesis import strategies as st
from torch import tensor

from gndpo.errors import UserError
from gndpo.scores import DATA, STUDENT, TEACHER, Scores

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
PREFIX = {  # one token that the teacher wrote
    "student": tensor([[[0.2, -0.3, 0.8, 0.0, -1.2]]]).double(),
    "teacher": tensor([[[1.5, 0.0, -0.5, 0.3, -1.0]]]).double(),
}
PREFIX_BATCH = {
    "ids": tensor([[0]]),
    "mask": tensor([[1]]),
    "uniform": tensor([[0.5]]).double(),
    "author": tensor([[TEACHER]]),
}
OPD_2 = [-0.20835090, -0.04648937, -0.34351255, -0.12637121, 0.72472402]


@pytest.fixture(scope="session")
def trust_region(make_strategy):
    return functools.partial(make_strategy, "trust_region", k=2, beta=0.001)


def test_golden_tropd(trust_region, outcome):
    done = outcome(trust_region(), LOGITS, **BATCH)
    assert done.signal.notes["accepted"].tolist() == [[1, 1, 0]]
    close(done.signal.advantage_BT, [[0.49182998, -0.41671070, 0.0]])
    assert done.value == pytest.approx(0.60684256, abs=1e-6)
    assert done.loss.parts["outlier"].item() == pytest.approx(1.89564696 / 3, abs=1e-6)
    close(done.gradients["student"][0], [*TRUSTED, FKL_2[2]])


def test_golden_scalar_form(trust_region, outcome):
    """The same value as the differentiated form, another gradient where the token is rejected."""
    done = outcome(trust_region(scalar=True), LOGITS, **BATCH)
    close(done.signal.advantage_BT, [[0.49182998, -0.41671070, -1.89564696]])
    assert done.signal.matches == ()
    assert done.value == pytest.approx(0.60684256, abs=1e-6)
    rejected = [-0.07938149, -0.01771240, -0.13087795, -0.04814731, 0.27611916]
    close(done.gradients["student"][0], [*TRUSTED, rejected])


def test_scalar_keeps_the_floor_too(trust_region):
    A_BT = trust_region(scalar=True, floor=FLOOR)(Scores.from_logits(**LOGITS, **BATCH))
    close(A_BT.advantage_BT[0, 2], FLOOR - 1.89564696)


@pytest.mark.parametrize("gate", ["bernoulli", FLOOR])
@pytest.mark.parametrize(("floor", "outside"), [(None, 0.0), (FLOOR, FLOOR)])
def test_golden_mask_and_clip(trust_region, outcome, gate, floor, outside):
    done = outcome(trust_region(gate=gate, k=None, floor=floor, beta=0.0), LOGITS, **BATCH)
    close(done.signal.advantage_BT, [[0.49182998, -0.41671070, outside]])
    assert done.signal.matches == ()
    # the policy gradient is linear in the advantage: OPD's is known for R = -4.97546387
    close(done.gradients["student"][0], [*TRUSTED, [x * outside / -4.97546387 for x in OPD_2]])


def test_a_number_as_gate_is_static(trust_region, dense):
    scores = dense(seed=2, B=30, scale=0.2).scores()
    R_BT = scores.teacher.logp_BT - scores.student.logp_BT
    for gate in (0.0, -0.2):
        signal = trust_region(gate=gate)(scores)
        accepted_BT = scores.mask_BT & R_BT.gt(gate)
        assert torch.equal(signal.notes["accepted"].bool(), accepted_BT)
        assert torch.equal(signal.advantage_BT, R_BT * accepted_BT)
        assert torch.equal(signal.matches[0].weight_BT.bool(), scores.mask_BT & ~accepted_BT)


def test_knobs_that_do_not_fit_are_refused(trust_region, dense):
    scores = dense().scores()
    with pytest.raises(UserError, match="it needs a number for k"):
        trust_region(scalar=True, k=None)(scores)
    with pytest.raises(UserError, match="gate=bernouli is unknown; choose bernoulli or a number"):
        trust_region(gate="bernouli")(scores)


def test_golden_prefix(trust_region, outcome):
    """Imitation raises the teacher's token; the scalar form lowers it, since pi_S < pi_T."""
    imitated = outcome(trust_region(), PREFIX, **PREFIX_BATCH)
    assert imitated.value == pytest.approx(0.001502738095, abs=1e-9)
    expected = [-7.77479956, 1.34965229, 4.05457956, 1.82184003, 0.54872767]
    close(1e4 * imitated.gradients["student"][0, 0], expected)
    assert not imitated.signal.advantage_BT.any()
    scalar = outcome(trust_region(scalar=True), PREFIX, **PREFIX_BATCH)
    assert scalar.value == pytest.approx(0.000947850810, abs=1e-9)
    close(scalar.signal.advantage_BT, [[-0.000947850810]], 1e-9)
    expected = [7.36935006, -1.27926902, -3.84313652, -1.72683255, -0.52011197]
    close(1e4 * scalar.gradients["student"][0, 0], expected)


@pytest.mark.parametrize(("scalar", "value"), [(True, 0.45536888), (False, 0.45550761)])
@pytest.mark.parametrize("author", [TEACHER, DATA])
def test_golden_prefix_and_continuation(trust_region, outcome, scalar, value, author):
    logits = {view: torch.cat([PREFIX[view], LOGITS[view]], 1) for view in LOGITS}
    batch = {key: torch.cat([PREFIX_BATCH[key], x], 1) for key, x in BATCH.items()}
    batch["author"] = tensor([[author, STUDENT, STUDENT, STUDENT]])
    done = outcome(trust_region(scalar=scalar), logits, aggregation="token_mean", **batch)
    assert done.value == pytest.approx(value, abs=1e-6)
    assert done.signal.notes["accepted"].tolist() == [[0, 1, 1, 0]]
    close(done.gradients["student"][0, 1:3] * 4 / 3, TRUSTED)


def test_without_beta_a_prefix_gives_nothing(trust_region, outcome):
    for scalar in (True, False):
        done = outcome(trust_region(scalar=scalar, beta=0.0), PREFIX, **PREFIX_BATCH)
        assert "guidance" not in [match.name for match in done.signal.matches]
        assert not done.gradients["student"].any()


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


@pytest.mark.parametrize(
    ("t", "kept", "rejected", "kl"),
    [
        (0, 0.05935662, -0.29585590, 0.23649928),
        (1, 0.02513338, -0.21665817, 0.19152478),
        (2, 0.19272382, -2.90781659, 2.71509276),
    ],
)
def test_expected_reward_and_gradient_are_those_of_the_overlap(
    trust_region, outcome, t, kept, rejected, kl
):
    """Enumerated over ids and both sides of the gate: E[A] = sum min(pi_S, pi_T) R, at least -KL,
    and the gradient lacks exactly (pi_S - pi_T)+ R grad log pi_S of the reverse KL's."""
    V = 5
    logits = {view: x[:, t : t + 1].expand(2 * V, 1, V) for view, x in LOGITS.items()}
    ids, sides = torch.arange(V).repeat(2)[:, None], tensor([0.0] * V + [1.0] * V).double()
    batch = {"ids": ids, "mask": torch.ones(2 * V, 1), "uniform": sides[:, None]}
    mask_arm = trust_region(k=None, beta=0.0)
    done = outcome(mask_arm, logits, aggregation="sequence_mean_token_sum", **batch)
    p, q = (logits[view][0, 0].softmax(-1) for view in ("student", "teacher"))
    both = torch.minimum(p, q)
    chance = torch.cat([both, p - both])
    close((chance * done.signal.advantage_BT[:, 0]).sum(), kept)
    assert kept >= -kl
    assert kept + rejected == pytest.approx(-kl, abs=1e-7)
    expected = 2 * V * (chance[:, None] * done.gradients["student"][:, 0]).sum(0)
    R, score = (q / p).log(), torch.eye(V).double() - p
    close(expected, -((both * R)[:, None] * score).sum(0), 1e-12)
    exact = p * (-R - (p * -R).sum())
    missing = -((p - both) * R) @ score
    close(expected + missing, exact, 1e-12)
    assert missing.norm() > 0.1 * exact.norm()


@given(ratio=st.floats(1e-5, 0.999))
def test_an_improbable_token_weighs_little_on_average(trust_region, ratio):
    """Over the draws A is log ratio with probability ratio: mean ratio log ratio >= -1/e, second
    moment ratio log^2 ratio <= 4/e^2."""
    U = 1000
    student = tensor([0.5, 0.5]).double()
    teacher = tensor([0.5 * ratio, 1 - 0.5 * ratio]).double()
    logits = {"student": student.log(), "teacher": teacher.log()}
    scores = Scores.from_logits(
        **{view: x.expand(1, U, 2) for view, x in logits.items()},
        ids=torch.zeros(1, U, dtype=torch.long),
        mask=torch.ones(1, U),
        uniform=(torch.arange(U).double()[None] + 0.5) / U,
    )
    A_U = trust_region(k=None)(scores).advantage_BT[0]
    R, grid = math.log(ratio), 1 / U
    assert A_U.mean().item() == pytest.approx(ratio * R, abs=grid * abs(R))
    assert A_U.mean().item() >= -1 / math.e - grid * abs(R)
    assert A_U.square().mean().item() == pytest.approx(ratio * R**2, abs=grid * R**2)
    assert A_U.square().mean().item() <= 4 / math.e**2 + grid * R**2


def test_only_the_scalar_form_is_unbounded(trust_region, outcome):
    """A student that is certain the teacher's top 2 never come."""
    student = LOGITS["student"].clone()
    student[0, 2, :2] = -1e4
    logits = LOGITS | {"student": student}
    scalar, differentiated = (
        outcome(trust_region(scalar=x), logits, aggregation="sequence_mean_token_sum", **BATCH)
        for x in (True, False)
    )
    assert scalar.signal.advantage_BT[0, 2] < -9e3
    assert scalar.gradients["student"][0, 2].abs().sum() > 1e3
    assert differentiated.gradients["student"][0, 2].abs().sum() == pytest.approx(2, abs=1e-6)


def test_the_pull_rests_at_the_teacher_renormalized_on_its_top_k(trust_region, outcome):
    rejected = BATCH | {"uniform": torch.ones(1, 3).double()}
    top = LOGITS["teacher"] >= LOGITS["teacher"].topk(2).values[..., -1:]
    rest = {"student": LOGITS["teacher"].where(top, -1e4), "teacher": LOGITS["teacher"]}
    done = outcome(trust_region(), rest, **rejected)
    close(done.gradients["student"], torch.zeros(1, 3, 5), 1e-12)
    equal = outcome(trust_region(gate=0.0), rest | {"student": LOGITS["teacher"]}, **rejected)
    mass = LOGITS["teacher"].softmax(-1).where(top, 0.0).sum(-1)
    close(equal.gradients["student"].abs().sum(-1), 2 * (1 - mass) / 3, 1e-12)


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
