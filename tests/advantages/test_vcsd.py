"""VCSD: the contrastive target by hand, its limits, and what it does to an equal student."""

import functools

import pytest
import torch
from golden import close
from torch import tensor

from gndpo.errors import UserError


@pytest.fixture(scope="session")
def vcsd(make_strategy):
    return functools.partial(make_strategy, "vcsd")


def one(student, teacher, black):
    """One token's distributions as logits, and its batch."""
    given = {"student": student, "teacher": teacher, "teacher_black": black}
    logits = {view: tensor([[x]]).double().log() for view, x in given.items()}
    return logits, {"ids": tensor([[0]]), "mask": tensor([[1]])}


def test_by_hand(vcsd, outcome):
    """q = (.5, .3, .15, .05), q_black = (.25, .3, .3, .15), beta .2: the last id is out (.05 < .1),
    q^2 / q_black = (1, .3, .075). The gradient at temperature 1 is p - target; value sum target log
    (target / p), p = 1/4."""
    logits, batch = one([0.25] * 4, [0.5, 0.3, 0.15, 0.05], [0.25, 0.3, 0.3, 0.15])
    done = outcome(vcsd(alpha=1.0, beta=0.2, temperature=1.0), logits, **batch)
    target = [0.72727273, 0.21818182, 0.05454545, 0.0]
    close(done.gradients["student"][0, 0], [0.25 - x for x in target])
    assert done.value == pytest.approx(0.6638683, abs=1e-6)
    assert not done.signal.advantage_BT.any()


def test_the_end_of_an_answer_is_not_contrasted(vcsd, outcome):
    """Id 0 ends it and keeps .5 instead of 1: target (.5, .3, .075) / .875."""
    logits, batch = one([0.25] * 4, [0.5, 0.3, 0.15, 0.05], [0.25, 0.3, 0.3, 0.15])
    done = outcome(vcsd(beta=0.2, temperature=1.0), logits, eos=(0,), **batch)
    target = [0.57142857, 0.34285714, 0.08571429, 0.0]
    close(done.gradients["student"][0, 0], [0.25 - x for x in target])


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_gradient_of_random_distributions(vcsd, outcome, dense, alpha, temperature):
    views = dense(seed=3, V=9)
    strategy = vcsd(alpha=alpha, beta=0.1, temperature=temperature)
    done = outcome(strategy, views.logits, eos=(2, 5), **views.batch)
    q = views.logits["teacher"].log_softmax(-1)
    contrast = q + alpha * (q - views.logits["teacher_black"].log_softmax(-1))
    contrast[..., [2, 5]] = q[..., [2, 5]]
    plausible = q.exp() >= 0.1 * q.exp().amax(-1, keepdim=True)
    target = (contrast / temperature).masked_fill(~plausible, -torch.inf).softmax(-1)
    p = (views.logits["student"] / temperature).softmax(-1)
    mask_BT = views.batch["mask"].double()
    weight_BT1 = (mask_BT / mask_BT.sum(-1, keepdim=True) / 6)[..., None]
    close(done.gradients["student"], temperature * (p - target) * weight_BT1, 1e-12)


def test_without_contrast_it_is_forward_kl(vcsd, make_strategy, outcome, dense):
    views = dense(seed=4, V=9)
    plain = vcsd(alpha=0.0, beta=1e-9, temperature=1.0)
    done = outcome(plain, views.logits, **views.batch)
    full = outcome(make_strategy("full_kl", direction="forward"), views.logits, **views.batch)
    assert done.value == pytest.approx(full.value, abs=1e-12)
    close(done.gradients["student"], full.gradients["student"], 1e-12)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_an_equal_student_is_pulled_into_its_plausible_ids(vcsd, outcome, temperature):
    """p = (.6, .36, .04): the first two at beta .1; m their mass at the temperature."""
    p = tensor([0.6, 0.36, 0.04]).double() ** (1 / temperature)
    logits, batch = one(*[[0.6, 0.36, 0.04]] * 3)
    done = outcome(vcsd(beta=0.1, temperature=temperature), logits, **batch)
    m = p[:2].sum() / p.sum()
    assert done.value == pytest.approx(float(temperature**2 * (1 / m).log()), abs=1e-7)
    size = done.gradients["student"].abs().sum()
    close(size, 2 * temperature * (1 - m), 1e-7)


@pytest.mark.parametrize("beta", [0.0, 1, 1.5])
def test_no_share_of_the_likeliest(vcsd, dense, beta):
    with pytest.raises(UserError, match=f"beta={beta} must be between 0 and 1"):
        vcsd(beta=beta)(dense().scores())
