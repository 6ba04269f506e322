"""Angles and eta from inner products; gradients by bin against losses written out; refusals."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from gndpo.errors import UserError
from gndpo.pieces import Portion
from gndpo.prompts import Prompts
from gndpo.report.angle_figure import curve, draw
from gndpo.report.angles import PAIRS, Measured, angles, eta, summarize, written
from gndpo.rng import uniform
from gndpo.rollout import generate
from gndpo.sources import ONLY
from gndpo.teachers import Teachers
from gndpo.term_gradients import (
    Models,
    equal_bins,
    gradients,
    gram,
    refuse_nothing,
    score_all,
    three_terms,
    weightings,
)

G = 3


def gram_of(a, b, degrees):
    """Inner products of a standard gradient of length a, a visual one of length b at an angle, and
    a language one of length 1 along the standard one."""
    visual = b * np.array([math.cos(math.radians(degrees)), math.sin(math.radians(degrees))])
    vectors = np.stack([[1.0, 0.0], visual, [a, 0.0]])
    return vectors @ vectors.T


@pytest.mark.parametrize(
    ("a", "b", "degrees", "gamma", "expected"),
    [
        (1, 1, 90, 2, 0.44721360),
        (1, 0.82, 46, 2, 0.40933860),
        (3, 2, 60, 2, 0.49319696),
        (2, 0, 0, 3, 1.0),
        (2, 0.5, 0, 3, 2 / (2 + 3 * 0.5)),
    ],
)
def test_eta(a, b, degrees, gamma, expected):
    assert eta(gram_of(a, b, degrees), gamma) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("degrees", [0, 42, 90, 92, 180])
def test_angles_do_not_depend_on_lengths(degrees):
    found = angles(gram_of(3, 0.01, degrees))
    expected = {"lang-vis": degrees, "std-vis": degrees, "std-lang": 0}
    assert found == pytest.approx(expected, abs=1e-5)


def test_numbers_come_with_the_interval_over_the_sets():
    sets = [
        Measured(
            [4, 5], [0.1, 0.2], np.stack([gram_of(1, 1, d), gram_of(1, 0, d)]), gram_of(2, 1, d)
        )
        for d in (50, 60, 70)
    ]
    found = summarize(sets, [2])
    first, second = found["bins"]
    assert (first["tokens"], second["tokens"], found["all"]["tokens"]) == (12, 15, 27)
    # t(0.975, 2) = 4.302653, s = 10: half = 4.302653 * 10 / sqrt(3)
    assert first["lang-vis"]["mean"] == pytest.approx(60)
    assert first["lang-vis"]["half"] == pytest.approx(24.841377, abs=1e-5)
    assert first["norm_standard"]["mean"] == pytest.approx(1 / 4)  # per token
    assert second["std-vis"] == {"mean": None, "half": None, "values": []}  # a zero has no angle
    assert found["all"]["norm_standard"]["mean"] == pytest.approx(2)
    assert found["eta"][0]["gamma"] == 2
    assert found["eta"][0]["eta_language"]["mean"] == pytest.approx(2 / (2 + 2 * 1))
    assert written(first["lang-vis"], ".1f") == "60.0 ± 24.8"
    assert written(second["std-vis"], ".1f") == "-"


def test_bins_hold_equally_many_tokens_in_order():
    x_N = torch.tensor([5.0, 0.0, 3.0, 9.0, 1.0, 7.0, 2.0])
    assert equal_bins(x_N, 3).tolist() == [1, 0, 1, 2, 0, 2, 0]
    assert equal_bins(x_N, 7).tolist() == [4, 0, 3, 6, 1, 5, 2]
    with pytest.raises(UserError, match="7 tokens are too few for bins=8"):
        equal_bins(x_N, 8)


def test_a_bin_is_a_sum_and_the_whole_batch_a_mean_over_answers():
    mask_BT = torch.tensor([[1, 1, 1], [1, 0, 0]]).bool()
    first, second, whole = weightings(mask_BT, torch.tensor([0, 1, 1, 0]), 2)
    assert first.tolist() == [1, 0, 0, 1]
    assert second.tolist() == [0, 1, 1, 0]
    assert whole.tolist() == pytest.approx([1 / 6, 1 / 6, 1 / 6, 1 / 2])


@pytest.fixture(scope="module")
def prompts(renderings):
    return Prompts([{}] * 3, [""] * 3, renderings)


@pytest.fixture(scope="module")
def answers(student, renderings):
    draws = torch.from_numpy(uniform(1, "tokens", 0, range(3 * G), 6))
    return generate(student, renderings["image"], group=G, max_tokens=6, uniform_BT=draws)


@pytest.fixture(scope="module")
def models(student, teacher):
    return Models(student, Teachers({ONLY: teacher}), None, 6, Portion(None, None, 4096))


def weighted(models, prompts, answers, weight_N):
    scores = score_all(models, prompts, answers)
    return gradients(models, prompts, answers, scores, three_terms(scores), weight_N)


def test_gradients_of_the_losses_written_out(models, prompts, answers):
    mask_BT = answers.mask_BT
    weight_N = torch.linspace(0, 1, int(mask_BT.sum())).double()

    def logp(policy, rendering):
        hidden = policy.hidden(prompts.renderings[rendering], answers.ids_BT)[mask_BT]
        return policy.head.log_probs(hidden)

    def kl(logp_NV, logq_NV):
        return (weight_N * (logp_NV.exp() * (logp_NV - logq_NV.detach())).sum(-1)).sum()

    student, teacher = models.student, models.teachers.of[ONLY]
    p_I, p_x = logp(student, "image"), logp(student, "text")
    q_I, q_x = logp(teacher, "image"), logp(teacher, "text")
    star = (p_x + q_I - q_x).log_softmax(-1)
    losses = (kl(p_x, q_x), kl(p_I, star), kl(p_I, q_I))  # language, visual, standard
    parameters = list(student.parameters())
    found = weighted(models, prompts, answers, weight_N)
    for loss, term in zip(losses, found, strict=True):
        expected = torch.autograd.grad(loss, parameters, retain_graph=True, materialize_grads=True)
        assert any(part.any() for part in term)
        for got, part in zip(term, expected, strict=True):
            torch.testing.assert_close(got, part, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "portion", [Portion(1, None, 4096), Portion(2, None, 5), Portion(None, 2, 5)]
)
def test_neither_microbatches_nor_chunks_change_them(models, prompts, answers, portion):
    weight_N = torch.linspace(0, 1, int(answers.mask_BT.sum())).double()
    whole = weighted(models, prompts, answers, weight_N)
    split = weighted(replace(models, portion=portion), prompts, answers, weight_N)
    for ours, theirs in zip(whole, split, strict=True):
        for x, y in zip(ours, theirs, strict=True):
            torch.testing.assert_close(x, y, atol=1e-4, rtol=0)


def test_bins_add_up_to_the_whole(models, prompts, answers):
    bin_N = equal_bins(torch.arange(int(answers.mask_BT.sum())).double(), 3)
    parts = [weighted(models, prompts, answers, (bin_N == k).double()) for k in range(3)]
    whole = weighted(models, prompts, answers, torch.ones(len(bin_N)).double())
    for term in range(len(PAIRS)):
        total = [sum(xs) for xs in zip(*(part[term] for part in parts), strict=True)]
        for x, y in zip(total, whole[term], strict=True):
            torch.testing.assert_close(x, y, atol=1e-4, rtol=0)


def test_gram_is_that_of_the_flat_vectors():
    vectors = [[torch.randn(2, 3), torch.randn(4)] for _ in range(3)]
    flat = torch.stack([torch.cat([x.flatten() for x in v]) for v in vectors]).double()
    torch.testing.assert_close(gram(vectors), flat @ flat.T)


def test_a_teacher_that_ignores_the_image_is_refused(models, prompts, answers):
    text = dict.fromkeys(("image", "text"), prompts.renderings["text"])
    blind = Prompts(prompts.rows, prompts.texts, text)
    scores = score_all(models, blind, answers)
    with pytest.raises(UserError, match="the same with and without the image"):
        refuse_nothing(scores, three_terms(scores))


def test_a_teacher_that_is_the_student_is_refused(models, prompts, answers, student):
    same = replace(models, teachers=Teachers({ONLY: student}))
    scores = score_all(same, prompts, answers)
    with pytest.raises(UserError, match="agree on every token"):
        refuse_nothing(scores, three_terms(scores))


@pytest.mark.parametrize(("bins", "gammas"), [(1, [2]), (30, [1, 2, 4])])
def test_the_figure_takes_any_number_of_bins_and_missing_angles(tmp_path, bins, gammas):
    grams = np.stack([gram_of(1, k % 2, 60) for k in range(bins)])  # even bins: no visual gradient
    one = Measured([5] * bins, [10.0**-k for k in range(bins)], grams, gram_of(1, 1, 60))
    asked = {"step": 3, "split": "test", "repeats": 2, "prompts": 4, "group": 2}
    draw(asked | summarize([one, one], gammas), tmp_path / "angles.png")
    assert (tmp_path / "angles.png").stat().st_size > 10_000


def test_missing_numbers_leave_a_gap():
    middle, half = curve([{"mean": 3.0, "half": 1.0}, {"mean": None, "half": None}])
    assert middle.tolist() == pytest.approx([3.0, math.nan], nan_ok=True)
    assert half.tolist() == [1.0, 0.0]
