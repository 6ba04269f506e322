"""Surrogates and aggregation by hand, the policy gradient by enumeration, and a loss that ignores
how a batch is split."""

import functools
import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import tensor

from gndpo.errors import UserError
from gndpo.loss import answer_loss
from gndpo.rows import DenseHead, Rows
from gndpo.scores import Scores
from gndpo.signal import Match, Signal
from gndpo.surrogates import corrected, gspo, ppo, reinforce, token_weights

RATIO = tensor([[1.5, 0.5, 1.1, 1.0], [1.5, 0.5, 4.0, 9.0]], dtype=torch.double)
A = tensor([[2.0, 2.0, -1.0, 3.0], [-2.0, -2.0, -2.0, 0.0]], dtype=torch.double)
OLD = tensor([[-1.0, -2.0, -3.0, -4.0]], dtype=torch.double).expand(2, 4)
MASK = tensor([[1, 1, 1, 1], [1, 1, 1, 0]]).bool()
PPO = functools.partial(ppo, clip_low=0.2, clip_high=0.3)
SURROGATES = {
    "reinforce": reinforce,
    "ppo": functools.partial(PPO, dual_clip=3.0),
    "gspo": functools.partial(gspo, clip_low=0.2, clip_high=0.2),
}
AGGREGATIONS = ("sequence_mean_token_mean", "token_mean", "sequence_mean_token_sum")


def close(actual, expected, atol=1e-12):
    torch.testing.assert_close(
        actual, torch.as_tensor(expected, dtype=torch.double), atol=atol, rtol=0
    )


def run(surrogate, ratio=RATIO, advantage=A):
    """Loss, clipped tokens and d loss / d log p, per token."""
    logp_BT = (OLD + ratio.log()).requires_grad_()
    loss_BT, clipped_BT = surrogate(logp_BT, OLD, advantage, MASK)
    loss_BT.sum().backward()
    return loss_BT.detach(), clipped_BT, logp_BT.grad


def test_reinforce_by_hand():
    loss_BT, clipped_BT, gradient_BT = run(reinforce)
    close(loss_BT, -A * RATIO)
    close(gradient_BT, -A * RATIO)
    assert not clipped_BT.any()


@pytest.mark.parametrize(
    ("dual_clip", "loss", "clipped", "moves"),
    [
        (None, [-2.6, -1.0, 1.1, -3.0, 3.0, 1.6, 8.0, 0.0], [0, 5], [1, 2, 3, 4, 6]),
        (3.0, [-2.6, -1.0, 1.1, -3.0, 3.0, 1.6, 6.0, 0.0], [0, 5, 6], [1, 2, 3, 4]),
    ],
)
def test_ppo_by_hand(dual_clip, loss, clipped, moves):
    """A > 0: no reward beyond 1.3; A < 0: none below 0.8; dual clip: at most 3 |A|. Clipped tokens
    stop moving."""
    loss_BT, clipped_BT, gradient_BT = run(functools.partial(PPO, dual_clip=dual_clip))
    close(loss_BT.flatten(), loss)
    assert clipped_BT.flatten().nonzero().flatten().tolist() == clipped
    assert gradient_BT.flatten().nonzero().flatten().tolist() == moves
    close(gradient_BT.flatten()[moves], (-A * RATIO).flatten()[moves])


def test_gspo_by_hand():
    """Row 0: s = (1.5 * 0.5 * 1.1)^(1/4), inside the clip. Row 1: s = 3^(1/3) > 1.2 with A < 0, so
    it is not cut."""
    loss_BT, clipped_BT, gradient_BT = run(SURROGATES["gspo"])
    s_B1 = tensor([[0.825**0.25], [3 ** (1 / 3)]], dtype=torch.double)
    close(loss_BT, -A * s_B1)
    close(gradient_BT[MASK], (-A * s_B1)[MASK])
    assert not clipped_BT.any()
    above_BT, clipped_BT, gradient_BT = run(SURROGATES["gspo"], advantage=A.abs())
    close(above_BT[1], -1.2 * A[1].abs())
    assert clipped_BT[1].tolist() == [1, 1, 1, 0]
    assert not gradient_BT[1].any()


def test_gspo_caps_the_log_ratio_at_10():
    loss_BT, _, _ = run(SURROGATES["gspo"], ratio=torch.full((2, 4), 12.0).double().exp())
    close(loss_BT[1, 0], 2 * tensor(10.0, dtype=torch.double).exp(), 1e-6)


def test_weights_by_hand():
    expected = {
        "sequence_mean_token_mean": [[1 / 8] * 4, [1 / 6] * 3 + [0]],
        "token_mean": [[1 / 7] * 4, [1 / 7] * 3 + [0]],
        "sequence_mean_token_sum": [[1 / 2] * 4, [1 / 2] * 3 + [0]],
    }
    for aggregation, weight_BT in expected.items():
        close(token_weights(MASK, aggregation), weight_BT)
    with pytest.raises(UserError, match=r"surrogate\.aggregation=median is unknown; choose one of"):
        token_weights(MASK, "median")


def test_policy_gradient_by_enumeration():
    """E_{y ~ p}[A grad log p] = -grad KL(p || q), A = log q - log p, whatever constant is added to
    A."""
    generator = torch.Generator().manual_seed(0)
    logit_V, q_V = (torch.randn(6, generator=generator).double().log_softmax(-1) for _ in range(2))
    leaf_V = logit_V.clone().requires_grad_()
    p_V = leaf_V.log_softmax(-1)
    (p_V.exp() * (p_V - q_V)).sum().backward()
    for constant in (0.0, 1.7):
        sampled_V = logit_V.clone().requires_grad_()
        logp_V1 = sampled_V.log_softmax(-1)[:, None]
        old_V1 = logp_V1.detach()
        loss_V1, _ = reinforce(logp_V1, old_V1, q_V[:, None] - old_V1 + constant, torch.ones(6, 1))
        (old_V1.exp() * loss_V1).sum().backward()
        close(sampled_V.grad, leaf_V.grad)


@pytest.mark.parametrize("surrogate", SURROGATES)
def test_on_policy_all_surrogates_agree(outcome, dense, surrogate):
    """Ratio 1: nothing is clipped, the loss is minus the weighted mean of A, the gradient -A per
    log-probability."""
    views = dense(seed=1)

    def strategy(scores):
        return Signal(scores.teacher.logp_BT - scores.student.logp_BT)

    done = outcome(strategy, views.logits, surrogate=SURROGATES[surrogate], **views.batch)
    plain = outcome(strategy, views.logits, **views.batch)
    weight_BT = token_weights(views.batch["mask"], "sequence_mean_token_mean")
    assert done.value == pytest.approx(
        -(weight_BT * done.signal.advantage_BT).sum().item(), abs=1e-12
    )
    assert done.loss.ratio_max.item() == pytest.approx(1, abs=1e-12)
    assert done.loss.clipped == 0
    close(done.gradients["student"], plain.gradients["student"])


@given(
    seed=st.integers(0, 1000),
    cuts=st.sets(st.integers(1, 5)),
    aggregation=st.sampled_from(AGGREGATIONS),
    surrogate=st.sampled_from(sorted(SURROGATES)),
)
def test_loss_does_not_depend_on_the_split(
    outcome, dense, piece, seed, cuts, aggregation, surrogate
):
    """Off-policy, advantage and matches of two views: microbatches sum to the whole, in value and
    gradient."""
    views, current = dense(seed, V=9), dense(seed + 1, V=9).logits
    loss_of = SURROGATES[surrogate]

    def strategy(scores):
        mask_BT = scores.mask_BT.double()
        text = Match("text", mask_BT, {"teacher_text": 1.0}, "forward", view="student_text")
        image = Match("image", mask_BT, {"teacher": 1.0}, support=("teacher", 4))
        return Signal(scores.teacher.logp_BT - scores.student.logp_BT, (image, text))

    options = {"surrogate": loss_of, "aggregation": aggregation, "current": current}
    whole = outcome(strategy, views.logits, **options, **views.batch)
    weight_BT = token_weights(views.batch["mask"], aggregation)
    leaves = {name: current[name].clone().requires_grad_() for name in ("student", "student_text")}
    value, edges = 0.0, [0, *sorted(cuts), 6]
    for start, stop in itertools.pairwise(edges):
        part = slice(start, stop)
        mask_bT = views.batch["mask"][part]
        rows = {name: Rows(leaf[part][mask_bT], DenseHead()) for name, leaf in leaves.items()}
        own = piece(part, whole.scores)
        loss = answer_loss(rows, whole.scores, whole.signal, loss_of, weight_BT, own)
        loss.total.backward()
        value += loss.total.item()
    assert value == pytest.approx(whole.value, abs=1e-10)
    for name, leaf in leaves.items():
        close(leaf.grad, whole.gradients[name])


def test_ratio_is_current_over_old(outcome):
    """One token, p = 0.8 now and 0.4 when it was written."""
    now, then = (tensor([[[p, 1 - p]]], dtype=torch.double).log() for p in (0.8, 0.4))
    batch = {"ids": tensor([[0]]), "mask": tensor([[1]])}
    logits = {"student": then, "teacher": then}

    def strategy(scores):
        return Signal(torch.ones_like(scores.student.logp_BT))

    done = outcome(strategy, logits, current={"student": now}, **batch)
    assert done.loss.ratio_max.item() == pytest.approx(2)
    assert done.value == pytest.approx(-2)
    close(done.gradients["student"], [[[-2 * 0.2, 2 * 0.2]]])


def test_behaviour_policy_is_the_student_unless_given(dense):
    views = dense(seed=2)
    scores = views.scores()
    close(scores.behaviour_logp_BT, scores.student.logp_BT)
    other = Scores.from_logits(**views.logits, **views.batch, behaviour_logp=torch.zeros(6, 5))
    assert not other.behaviour_logp_BT.any()


def test_a_correction_weighs_what_the_student_wrote_with_old_over_behaviour() -> None:
    """Ratios 0.5 / 0.25 = 2, 0.5 / 0.4 = 1.25, 0.5 / 0.1 = 5; the last token is another's."""
    behaviour = tensor([[0.25, 0.4, 0.1, 0.1]], dtype=torch.double).log()
    scores = Scores.from_logits(
        student=torch.zeros(1, 4, 2, dtype=torch.double),
        teacher=torch.zeros(1, 4, 2, dtype=torch.double),
        ids=torch.zeros(1, 4, dtype=torch.long),
        mask=torch.ones(1, 4),
        behaviour_logp=behaviour,
        author=tensor([[0, 0, 0, 1]]),
    )
    match = Match("a", torch.ones(1, 4, dtype=torch.double), {"teacher": 1.0})
    signal = Signal(tensor([[1.0, -2.0, 1.0, 3.0]], dtype=torch.double), (match,))
    close(corrected(signal, scores, 3.0).advantage_BT, [[2.0, -2.5, 3.0, 3.0]])
    assert corrected(signal, scores, 3.0).matches == (match,)
    assert corrected(signal, scores, None) is signal
