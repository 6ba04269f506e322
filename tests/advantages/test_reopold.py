"""REOPOLD: the floor, both stages by hand, their share of the loss, and the bias of the floor."""

import functools

import pytest
import torch
from golden import close
from torch import tensor

from gndpo.errors import UserError
from gndpo.reads import dry_run
from gndpo.scores import Scores

R = [0.49182998, -0.41671070, -4.97546387]
FLOOR = -0.84729786
EARLY, LATE = {"step": 4, "steps": 10}, {"step": 5, "steps": 10}
ALONE = {"switch": None, "keep": None}


@pytest.fixture(scope="session")
def reopold(make_strategy):
    return functools.partial(make_strategy, "reopold")


@pytest.mark.parametrize(
    ("floor", "least"),
    [  # log(lambda / (1 - lambda)) for lambda = 0.1, 0.2, 0.3; log(0.3) / 0.7
        (-2.19722458, -2.19722458),
        (-1.38629436, -1.38629436),
        (FLOOR, FLOOR),
        (-1.71996115, -1.71996115),
        (-10.0, R[2]),
    ],
)
def test_golden_floor(reopold, three_tokens, floor, least):
    signal = reopold(floor=floor, **ALONE)(Scores.from_logits(**three_tokens))
    close(signal.advantage_BT, [[R[0], R[1], least]])
    assert signal.notes["floored"].tolist() == [[0, 0, least == floor]]


@pytest.mark.parametrize(
    ("progress", "keep", "expected"),
    [
        (EARLY, 0.2, [R[0] * 3 / 2, R[1] * 3 / 2, 0]),  # above the floor
        (LATE, 0.2, [0, R[1] * 3, 0]),  # entropy 1.394, 1.436, 1.206
        (LATE, 0.5, [R[0] * 3 / 2, R[1] * 3 / 2, 0]),
        (LATE, 1.0, [R[0], R[1], FLOOR]),
    ],
)
def test_stages(reopold, three_tokens, progress, keep, expected):
    signal = reopold(keep=keep)(Scores.from_logits(**three_tokens, **progress))
    close(signal.advantage_BT, [expected])
    assert signal.notes["kept"].tolist() == [[float(x != 0) for x in expected]]


@pytest.mark.parametrize(
    ("switch", "refining"), [(0.0, True), (0.4, True), (0.41, False), (1.0, False)]
)
def test_when_refinement_starts(reopold, three_tokens, switch, refining):
    signal = reopold(switch=switch)(Scores.from_logits(**three_tokens, **EARLY))
    assert signal.notes["kept"].tolist() == [[0, 1, 0] if refining else [1, 1, 0]]


def test_a_token_mean_divides_by_the_tokens_kept(reopold, outcome, dense):
    """Importance-weighted, off policy: sum M ratio max(R, floor) / sum M."""
    views = dense(seed=3, B=20)
    current = views.logits | {"student": views.logits["student"] * 0.9}
    done = outcome(
        reopold(), views.logits, current=current, aggregation="token_mean", **views.batch
    )
    scores, ids = done.scores, views.batch["ids"][..., None]
    now_BT = current["student"].log_softmax(-1).gather(-1, ids)[..., 0]
    R_BT = scores.teacher.logp_BT - scores.student.logp_BT
    M_BT = scores.mask_BT & (R_BT >= FLOOR)
    assert 0 < M_BT.sum() < scores.mask_BT.sum()
    terms_BT = (now_BT - scores.student.logp_BT).exp() * R_BT
    assert done.value == pytest.approx(-terms_BT[M_BT].mean().item(), abs=1e-9)


def test_nothing_kept_is_nothing_divided(reopold, three_tokens):
    far = three_tokens | {"teacher": three_tokens["teacher"] - 50 * torch.eye(5)[[0, 1, 4]]}
    signal = reopold()(Scores.from_logits(**far))
    assert signal.advantage_BT.tolist() == [[0, 0, 0]]


def test_a_deep_floor_without_stages_is_raw_kl(reopold, make_strategy, dense):
    scores = dense(seed=1).scores()
    expected = make_strategy("raw_kl")(scores).advantage_BT
    assert torch.equal(reopold(floor=-1e9, **ALONE)(scores).advantage_BT, expected)


def test_what_it_reads_does_not_depend_on_the_stage(reopold):
    assert ("entropy",) in dry_run(reopold(), 11).requests["student"]
    assert ("entropy",) not in dry_run(reopold(**ALONE), 11).requests["student"]


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"floor": 0.0}, "floor=0.0 must be smaller than 0"),
        ({"switch": None}, "switch=None and keep=0.2: choose"),
        ({"keep": None}, "switch=0.5 and keep=None: choose"),
        ({"keep": 0.0}, r"keep in \(0, 1\]"),
        ({"switch": 150.0}, r"switch in \[0, 1\]"),
    ],
)
def test_what_cannot_be_combined_is_refused(reopold, three_tokens, knobs, message):
    with pytest.raises(UserError, match=message):
        reopold(**knobs)(Scores.from_logits(**three_tokens))


def test_tokens_of_other_authors_get_nothing(reopold, three_tokens):
    scores = Scores.from_logits(**three_tokens, author=tensor([[0, 1, 0]]), **LATE)
    close(reopold(keep=0.5)(scores).advantage_BT, [[R[0] * 3, 0, 0]])


def reverse_kl(p_SV, q_SV):
    return p_SV * (p_SV / q_SV).log()


@pytest.mark.parametrize(("knobs", "left"), [(ALONE, FLOOR), ({}, 0.0)])
def test_the_bias_of_the_floor(reopold, census, knobs, left):
    """Tokens below it are pushed down by the floor alone, by nothing during exploration."""
    R_SV = (census.q_SV / census.p_SV).log()
    below_SV = R_SV < FLOOR
    bias = census.gradient_of(lambda p_SV, _: p_SV * (R_SV - left) * below_SV)
    share = 1.0 if knobs else 1 - (census.p_SV * below_SV).sum() / 2
    found = census.policy_gradient(reopold(**knobs))
    close(found, (census.gradient_of(reverse_kl) + bias) / share)
    assert bias.abs().max() > 0.02


def test_refinement_descends_the_kl_where_the_student_is_uncertain(reopold, census):
    found = census.policy_gradient(reopold(floor=-9.0, keep=0.5), **LATE)
    exact = census.gradient_of(reverse_kl)
    close(found[0], 2 * exact[0])  # half the tokens, so twice the weight
    close(found[1], torch.zeros(4))
