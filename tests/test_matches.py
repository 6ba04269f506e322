"""Matches: every combination of direction, support, renormalization and temperature has the value
and the gradient that enumeration gives."""

import itertools
import math

import pytest
import torch
from golden import close
from hypothesis import given
from hypothesis import strategies as st
from torch import tensor

from gndpo.errors import UserError
from gndpo.reads import dry_run
from gndpo.signal import Match, Signal

STUDENT = tensor([[[1.0, 0.5, 0.0, -0.5, -1.0]]], dtype=torch.double)
TEACHER = tensor([[[2.0, 0.0, 0.5, -1.0, -2.0]]], dtype=torch.double)
OUTLIER = {  # the third token of TrOPD's golden vector
    "student": tensor([[[0.5, -1.0, 1.0, 0.0, 2.0]]], dtype=torch.double),
    "teacher": tensor([[[2.0, 1.0, 0.0, 0.5, -3.0]]], dtype=torch.double),
}
ONE = {"ids": tensor([[0]]), "mask": tensor([[1]])}
DIRECTIONS = ("reverse", "forward", 0.3)
SUPPORTS = (None, ("teacher", 3), ("student", 2), ("teacher_text", 5))
RENORMALIZE = tuple(itertools.product((True, False), repeat=2))


def only(*matches):
    """A strategy that gives these matches and no advantage. weight_BT=None: every valid token
    counts 1."""

    def strategy(scores):
        mask_BT = scores.mask_BT.double()
        filled = [
            Match(name, mask_BT if weight is None else weight, target, **options)
            for name, weight, target, options in matches
        ]
        return Signal(torch.zeros_like(mask_BT), tuple(filled))

    return strategy


def pull(target, weight=None, name="match", **options):
    return only((name, weight, target, options))


def exact_gradient(p, q, direction):
    """d/dlogits of the divergence's terms with p, q over the support S (zeros outside), p a
    function of all logits.

    Reverse is E_p[(log p - log q) grad log p]: the estimator's gradient, free of the constant +1 on
    a truncated support.
    """
    S = q > 0
    r = (p / q.where(S, 1.0)).log().where(S, 0.0)
    if direction == "reverse":
        inner = p * r
    elif direction == "forward":
        inner = -q
    else:
        b = direction
        m = b * q + (1 - b) * p
        inner = (1 - b) * p * (p / m.where(S, 1.0)).log().where(S, 0.0)
    return inner


def exact_value(p, q, direction):
    """The divergence's sum over the ids of the support."""
    if direction == "reverse":
        return (p * (p / q).log()).sum()
    if direction == "forward":
        return (q * (q / p).log()).sum()
    b = direction
    m = b * q + (1 - b) * p
    return (b * q * (q / m).log() + (1 - b) * p * (p / m).log()).sum()


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("support", SUPPORTS)
@pytest.mark.parametrize("renormalize", RENORMALIZE)
def test_gradient_is_the_exact_one(outcome, dense, direction, support, renormalize):
    views = dense(seed=1, B=2, T=3, V=6, scale=1.0)
    match = pull({"teacher": 1.0}, direction=direction, support=support, renormalize=renormalize)
    done = outcome(match, views.logits, aggregation="sequence_mean_token_sum", **views.batch)
    for b, t in views.batch["mask"].nonzero().tolist():
        prob = {view: x[b, t].softmax(-1) for view, x in views.logits.items()}
        p, q = prob["student"], prob["teacher"]
        inside = torch.ones(6, dtype=torch.bool)
        if support is not None:
            inside = torch.zeros(6, dtype=torch.bool)
            inside[prob[support[0]].topk(support[1]).indices] = True
            p, q = p * inside, q * inside
            q = q / q.sum() if renormalize[0] else q
            p = p / p.sum() if renormalize[1] else p
        inner_V = exact_gradient(p, q, direction)
        # grad log p_v on logit j: 1[v = j] minus the normalizer's distribution
        normalizer_V = p if support is not None and renormalize[1] else prob["student"]
        expected_V = inner_V - inner_V.sum() * normalizer_V
        close(done.gradients["student"][b, t], expected_V / 2, 1e-12)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("support", [None, ("teacher", 0.2), ("student", 0.05)])
@pytest.mark.parametrize("renormalize", RENORMALIZE)
@pytest.mark.parametrize("tau", [1.0, 2.0, 0.5])
def test_plausible_ids_and_temperature(outcome, dense, direction, support, renormalize, tau):
    """tau^2 D(p^(1/tau) || q^(1/tau)) over the ids at least b times as likely as the likeliest;
    p's logits are divided by tau, so its gradient is tau times that of D on them."""
    views = dense(seed=6, B=3, T=3, V=6, scale=1.5)
    options = {"direction": direction, "support": support, "renormalize": renormalize}
    match = pull({"teacher": 1.0}, temperature=tau, **options)
    done = outcome(match, views.logits, aggregation="sequence_mean_token_sum", **views.batch)
    value, sizes = 0.0, set()
    for b, t in views.batch["mask"].nonzero().tolist():
        whole_V, q = (
            (views.logits[view][b, t] / tau).softmax(-1) for view in ("student", "teacher")
        )
        inside = torch.ones(6, dtype=torch.bool)
        if support is not None:
            likely_V = views.logits[support[0]][b, t].softmax(-1)
            inside = likely_V >= support[1] * likely_V.max()
        sizes.add(int(inside.sum()))
        p, q = whole_V * inside, q * inside
        q = q / q.sum() if renormalize[0] else q
        p = p / p.sum() if renormalize[1] else p
        value += tau**2 * exact_value(p[inside], q[inside], direction) / 3
        inner_V = exact_gradient(p, q, direction)
        expected_V = tau * (inner_V - inner_V.sum() * (p if renormalize[1] else whole_V))
        close(done.gradients["student"][b, t], expected_V / 3, 1e-12)
    assert done.value == pytest.approx(float(value), abs=1e-12)
    assert len(sizes) > 1 or support is None  # the support follows the distribution


def test_golden_temperature_2(outcome):
    """p = (1/2, 1/2), q = (0.8, 0.2): at temperature 2 q is (2/3, 1/3), and 4 KL(q || p) = 4 (log 2
    + 2/3 log 2/3 + 1/3 log 1/3)."""
    logits = {"student": tensor([[[0.0, 0.0]]]), "teacher": tensor([[[0.8, 0.2]]]).log()}
    logits = {view: x.double() for view, x in logits.items()}
    done = outcome(pull({"teacher": 1.0}, direction="forward", temperature=2.0), logits, **ONE)
    assert done.value == pytest.approx(0.2265320, abs=1e-6)
    close(done.gradients["student"][0, 0], [-1 / 3, 1 / 3])  # 2 (p - q)


@pytest.mark.parametrize("tau", [1.0, 2.0])
@pytest.mark.parametrize("support", [None, ("teacher", 0.05)])
def test_plain_ids_keep_the_first_view(outcome, dense, tau, support):
    """q^2 / q_black, but q itself at the plain ids, all normalized together."""
    views = dense(seed=7, V=6, scale=1.0)
    contrast = {"teacher": 2.0, "teacher_black": -1.0}
    options = {"direction": "forward", "temperature": tau, "support": support}
    done = outcome(pull(contrast, plain_ids=(1, 3), **options), views.logits, **views.batch)
    logq = {view: views.logits[view].log_softmax(-1) for view in contrast}
    target = 2 * logq["teacher"] - logq["teacher_black"]
    target[..., [1, 3]] = logq["teacher"][..., [1, 3]]
    if support is not None:
        likely = logq["teacher"] >= logq["teacher"].max(-1, keepdim=True).values + math.log(0.05)
        assert not likely[views.batch["mask"]].all()
        target = target.masked_fill(~likely, -math.inf)
    p, q = (views.logits["student"] / tau).softmax(-1), (target / tau).softmax(-1)
    mask_BT = views.batch["mask"].double()
    weight_BT1 = (mask_BT / mask_BT.sum(-1, keepdim=True) / 6)[..., None]
    close(done.gradients["student"], tau * (p - q) * weight_BT1, 1e-12)
    everywhere = outcome(pull(contrast, **options), views.logits, **views.batch)
    assert abs(everywhere.value - done.value) > 1e-3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"support": ("teacher", 3), "temperature": 2.0}, "need the whole vocabulary, not the 3"),
        ({"support": ("teacher", 3), "plain_ids": (1,)}, "need the whole vocabulary, not the 3"),
        ({"support": ("teacher", 0.0)}, "support=0.0 is unknown; choose a whole number or one in"),
        ({"support": ("teacher", 1.0)}, "support=1.0 is unknown"),
        ({"support": ("teacher", 0)}, "k=0 likeliest ids are asked for; choose 1 to 40"),
        ({"temperature": 0.0}, "temperature=0.0 must be larger than 0"),
        ({"temperature": -1.0}, "temperature=-1.0 must be larger than 0"),
    ],
)
def test_what_a_match_cannot_do_is_refused_at_start_up(options, message):
    with pytest.raises(UserError, match=message):
        dry_run(pull({"teacher": 1.0}, **options), 40)


def test_plausible_ids_need_the_whole_distribution_of_their_view():
    reads = dry_run(pull({"teacher_text": 1.0}, support=("teacher", 0.1), plain_ids=(0,)), 40)
    assert reads.whole == {"teacher", "teacher_text"}


def test_golden_student_top_2_reverse_kl(outcome):
    """The plain truncated form has +0.3297 on token 1 and loss 0.0513; ours is the stop-gradient
    form, or renormalized."""
    logits = {"student": STUDENT, "teacher": TEACHER}
    options = {"support": ("student", 2)}
    stopped = outcome(pull({"teacher": 1.0}, renormalize=(False, False), **options), logits, **ONE)
    assert stopped.value == pytest.approx(0.05129123, abs=1e-6)
    expected = [-0.23281191, 0.24878152, -0.00808830, -0.00490580, -0.00297552]
    close(stopped.gradients["student"][0, 0], expected)
    renormalized = outcome(
        pull({"teacher": 1.0}, renormalize=(True, True), **options), logits, **ONE
    )
    assert renormalized.value == pytest.approx(0.21916203, abs=1e-6)
    close(renormalized.gradients["student"][0, 0], [-0.35250557, 0.35250557, 0, 0, 0])


@pytest.mark.parametrize(
    ("renormalize", "value", "gradient"),
    [
        ((True, False), 1.89564696, [-0.20181052, -0.08030341, 0.06904131, 0.02539888, 0.18767374]),
        (
            (False, False),
            1.30941310,
            [-0.15928406, -0.06338150, 0.05449260, 0.02004671, 0.14812625],
        ),
        ((True, True), 0.02262230, [0.02883863, -0.02883863, 0, 0, 0]),
    ],
)
def test_golden_teacher_top_2_forward_kl(outcome, renormalize, value, gradient):
    options = {"direction": "forward", "support": ("teacher", 2), "renormalize": renormalize}
    done = outcome(pull({"teacher": 1.0}, **options), OUTLIER, **ONE)
    assert done.value == pytest.approx(value, abs=1e-6)
    close(done.gradients["student"][0, 0] / 3, gradient)  # there, one of three tokens


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_full_support_is_the_vocabulary(outcome, dense, direction):
    views = dense(seed=2, V=9)
    whole, truncated = (
        outcome(pull({"teacher": 1.0}, direction=direction, support=s), views.logits, **views.batch)
        for s in (None, ("teacher", 9))
    )
    assert truncated.value == pytest.approx(whole.value, abs=1e-12)
    close(truncated.gradients["student"], whole.gradients["student"], 1e-12)


@pytest.mark.parametrize("support", [None, ("teacher", 4), ("student_text", 4)])
def test_mixed_targets(outcome, dense, support):
    """log q = log teacher + a (log student_text - log teacher_text), a per token, then
    normalized."""
    views = dense(seed=3, V=8)
    a_BT = torch.rand(6, 5, generator=torch.Generator().manual_seed(0)).double()
    mixture = {"teacher": 1.0, "student_text": a_BT, "teacher_text": -a_BT}
    done = outcome(pull(mixture, direction="forward", support=support), views.logits, **views.batch)
    logp = {view: x.log_softmax(-1) for view, x in views.logits.items()}
    a_BT1 = a_BT[..., None]
    log_q = logp["teacher"] + a_BT1 * (logp["student_text"] - logp["teacher_text"])
    if support is not None:
        ids = logp[support[0]].topk(support[1]).indices
        log_q = torch.full_like(log_q, -math.inf).scatter(-1, ids, log_q.gather(-1, ids))
    p, q = views.logits["student"].softmax(-1), log_q.softmax(-1)
    mask_BT = views.batch["mask"].double()
    weight_BT1 = (mask_BT / mask_BT.sum(-1, keepdim=True) / 6)[..., None]
    close(done.gradients["student"], (p - q) * weight_BT1, 1e-12)
    assert done.gradients.keys() == {"student"}  # the mixture is a constant


def test_sampled_is_the_negative_log_likelihood(outcome):
    """One teacher-written token, value and gradient of TrOPD's golden vector G2, weight 0.001."""
    logits = {
        "student": tensor([[[0.2, -0.3, 0.8, 0.0, -1.2]]], dtype=torch.double),
        "teacher": tensor([[[1.5, 0.0, -0.5, 0.3, -1.0]]], dtype=torch.double),
    }
    done = outcome(
        pull({"sampled": 1.0}, weight=tensor([[0.001]], dtype=torch.double)), logits, **ONE
    )
    assert done.value == pytest.approx(0.001502738095, abs=1e-9)
    expected = tensor([-7.77479956, 1.34965229, 4.05457956, 1.82184003, 0.54872767]) * 1e-4
    close(done.gradients["student"][0, 0], expected, 1e-10)


def test_matches_add_up_and_train_their_view(outcome, dense):
    views = dense(seed=4)
    a = ("a", None, {"teacher": 1.0}, {})
    b = ("b", None, {"teacher_text": 1.0}, {"view": "student_text", "direction": "forward"})
    c = ("c", None, {"sampled": 1.0}, {})
    together = outcome(only(a, b, c), views.logits, **views.batch)
    alone = [outcome(only(x), views.logits, **views.batch) for x in (a, b, c)]
    assert together.value == pytest.approx(sum(x.value for x in alone), abs=1e-12)
    summed = alone[0].gradients["student"] + alone[2].gradients["student"]
    close(together.gradients["student"], summed, 1e-12)
    close(together.gradients["student_text"], alone[1].gradients["student_text"], 1e-12)
    assert together.loss.parts["b"] == pytest.approx(alone[1].value, abs=1e-12)


@given(
    chunk=st.integers(1, 40),
    seed=st.integers(0, 1000),
    dtype=st.sampled_from(["double", "bfloat16"]),
)
def test_chunked_equals_dense(outcome, dense, chunk, seed, dtype):
    """Chunks change memory, never numbers: value and gradient of matches and advantage together."""
    views = dense(seed, V=8)
    logits = {view: x.to(getattr(torch, dtype)) for view, x in views.logits.items()}

    def strategy(scores):
        weight_BT, target = scores.mask_BT.double(), {"teacher": 1.0, "student_text": 0.5}
        whole = Match("m", weight_BT, target, 0.3)
        top = Match("k", weight_BT, {"teacher": 1.0}, "forward", support=("teacher", 3))
        plausible = {"support": ("teacher", 0.1), "temperature": 2.0, "plain_ids": (0, 5)}
        likely = Match("p", weight_BT, target, **plausible)
        return Signal(scores.teacher.logp_BT - scores.student.logp_BT, (whole, top, likely))

    whole = outcome(strategy, logits, **views.batch)
    parts = outcome(strategy, logits, chunk=chunk, **views.batch)
    assert parts.value == pytest.approx(whole.value, rel=1e-12 if dtype == "double" else 1e-5)
    assert whole.gradients["student"].dtype == logits["student"].dtype
    atol = 1e-14 if dtype == "double" else 1e-4
    close(parts.gradients["student"].double(), whole.gradients["student"].double(), atol)


def test_bf16_logits_are_scored_in_float32(dense):
    views = dense(seed=5)
    logits = {view: x.bfloat16() for view, x in views.logits.items()}
    from_bf16 = type(views)(logits, views.batch).scores()
    exact = type(views)({view: x.double() for view, x in logits.items()}, views.batch).scores()
    close(from_bf16.student.kl("teacher").double(), exact.student.kl("teacher"), 1e-5)
