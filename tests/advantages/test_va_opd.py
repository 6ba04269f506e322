"""VA-OPD: golden weights of answers, the loss by hand, its limit full_kl."""

import functools
import math

import numpy as np
import pytest
import torch
from golden import close
from hypothesis import given
from hypothesis import strategies as st
from torch import tensor

from gndpo.errors import UserError
from gndpo.scores import Scores


@pytest.fixture(scope="session")
def va_opd(make_strategy):
    return functools.partial(make_strategy, "va_opd")


@pytest.fixture(scope="session")
def seen():
    """seen(a): scores whose tokens have the visual advantage a, [B, T], nan at padding."""

    def scores(a_BT, group):
        a_BT = tensor(a_BT).double()
        logp = {"teacher": torch.full_like(a_BT, -1.0), "teacher_degraded": -1.0 - a_BT}
        logits = {
            view: torch.stack([x, torch.log1p(-x.exp())], -1)
            for view, x in (logp | {"student": logp["teacher"]}).items()
        }
        ids = torch.zeros(a_BT.shape, dtype=torch.long)
        return Scores.from_logits(**logits, ids=ids, mask=~a_BT.isnan(), group=group)

    return scores


MEANS = [[0.045], [0.03], [0.02], [0.01]]
GOLDEN = [0.65580186, 0.20556760, 0.09485844, 0.04377210]


def test_golden_weights_of_answers(va_opd, seen):
    """Answers of one token, all of it in the rest: the weight is G times w."""
    signal = va_opd(lam=0.0, top=0.0)(seen(MEANS, [0] * 4))
    close(signal.matches[0].weight_BT[:, 0] / 4, GOLDEN)


def test_weights_are_softmaxes_within_a_prompt(va_opd, seen):
    """The z-score of two answers is +-1, however far apart; three equal ones share alike."""
    a_BT = [[0.5], [0.3], [0.4], [1.3], [0.3], [0.3]]
    signal = va_opd(lam=0.0, top=0.0, tau=0.5)(seen(a_BT, [7, 1, 7, 4, 4, 1]))
    high, low = (1 / (1 + math.exp(x)) for x in (-4, 4))
    close(signal.matches[0].weight_BT[:, 0] / 2, [high, 0.5, low, high, low, 0.5])


def test_what_the_coarse_image_makes_likelier_counts_0(va_opd, seen):
    signal = va_opd()(seen([[-0.3, 0.2, math.nan]], [0]))
    close(signal.notes["visual_advantage"], [[0, 0.2, 0]])


def test_tokens_of_one_answer(va_opd, seen):
    """The two largest of ten share lam, the others the rest; times the length, for a mean."""
    a_BT = [[0.0, 0.3, 0.1, 0.0, 0.9, 0.2, 0.0, 0.0, 0.1, 0.0]]
    signal = va_opd(lam=0.5, top=0.2)(seen(a_BT, [0]))
    top = [0, 1, 0, 0, 1, 0, 0, 0, 0, 0]
    assert signal.notes["top"].tolist() == [top]
    close(signal.matches[0].weight_BT[0], [10 * (0.25 if x else 0.5 / 8) for x in top])


@given(
    seed=st.integers(0, 10_000),
    tau=st.sampled_from([0.3, 1.0]),
    lam=st.floats(0, 1),
    top=st.floats(0, 1),
)
def test_the_loss_is_the_mean_over_prompts_of_weighted_answers(
    va_opd, outcome, dense, seed, tau, lam, top
):
    views = dense(seed, B=9, V=6)
    views.batch["group"] = tensor([0, 1, 2, 0, 1, 2, 0, 1, 2])
    done = outcome(va_opd(tau=tau, lam=lam, top=top), views.logits, **views.batch)
    scores = views.scores()
    kl, q, coarse = (
        x.numpy()
        for x in (
            scores.student.kl("teacher"),
            scores.teacher.logp_BT,
            scores.teacher_degraded.logp_BT,
        )
    )
    losses, means = np.zeros(9), np.zeros(9)
    for i, length in enumerate(scores.mask_BT.sum(-1).tolist()):
        a = np.maximum(q - coarse, 0)[i, :length]
        visual = a > np.quantile(a, 1 - top)
        parts = ((lam, visual), (1 - lam, ~visual))
        losses[i] = sum(s * kl[i, :length][part].mean() for s, part in parts if part.any())
        means[i] = a.mean()
    expected = 0.0
    for prompt in range(3):
        own = np.arange(9) % 3 == prompt
        w = np.exp((means[own] - means[own].mean()) / means[own].std() / tau)
        expected += (w / w.sum() * losses[own]).sum() / 3
    assert done.value == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("share", [0.0, 0.2])
def test_alike_answers_and_tokens_are_full_kl(va_opd, make_strategy, outcome, dense, share):
    """No top at all, or answers of five tokens whose top is one of them: lam = 1/5."""
    views = dense(seed=2)
    if share:
        views.batch["mask"] = torch.ones(6, 5)
    done = outcome(va_opd(tau=math.inf, lam=share, top=share), views.logits, **views.batch)
    plain = outcome(make_strategy("full_kl"), views.logits, **views.batch)
    assert done.value == pytest.approx(plain.value, abs=1e-12)
    close(done.gradients["student"], plain.gradients["student"], 1e-12)
    weighted = outcome(va_opd(), views.logits, **views.batch)
    assert abs(weighted.value - plain.value) > 0.01


@pytest.mark.parametrize("knobs", [{"tau": 0.0}, {"tau": -1.0}, {"lam": 1.5}, {"top": -0.1}])
def test_knobs_out_of_range_are_refused(va_opd, dense, knobs):
    with pytest.raises(UserError, match="tau must be larger than 0, the others in"):
        va_opd(**knobs)(dense().scores())
