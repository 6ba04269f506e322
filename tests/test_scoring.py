"""Scoring with real models: what is asked for and nothing else, microbatch by microbatch, ready for
a loss with ratio 1."""

from pathlib import Path

import pytest
import torch

from gndpo.loss import answer_loss
from gndpo.pieces import Portion
from gndpo.prompts import Prompts
from gndpo.reads import Reads, dry_run
from gndpo.rng import uniform
from gndpo.rollout import generate
from gndpo.rows import Rows
from gndpo.scores import Scores
from gndpo.scoring import score
from gndpo.sources import Source
from gndpo.surrogates import reinforce, token_weights
from gndpo.teachers import sources
from gndpo.views import VIEWS, make_views

G = 3
WHOLE = Portion(micro=None, answers=None, chunk=4096)


def views_of(student, teacher):
    return sources(Source.of(student), Source.of(teacher))


NAMES = sorted(p.stem for p in (Path(__file__).parents[1] / "conf" / "advantage").glob("*.yaml"))


@pytest.fixture(scope="module")
def prompts(renderings):
    return Prompts([{}] * 3, [""] * 3, renderings)


@pytest.fixture(scope="module")
def answers(student, renderings):
    """No quantile that a strategy takes falls on the first tokens of a group: they are equal, and
    rounding would decide."""
    draws = torch.from_numpy(uniform(2, "tokens", 0, range(3 * G), 6))
    return generate(student, renderings["image"], group=G, max_tokens=6, uniform_BT=draws)


@pytest.fixture(scope="module")
def dense_views(student, teacher, renderings, answers):
    """Reference: every view with its whole distributions, from one forward each."""
    mask_BT = answers.mask_BT
    rows = {}
    for name, source in views_of(student, teacher).items():
        hidden_BTH = source.policy.hidden(renderings[source.rendering], answers.ids_BT).detach()
        rows[name] = Rows(hidden_BTH[mask_BT], source.policy.head)
    return make_views(answers.ids_BT, mask_BT, rows)


def scores_of(views, answers):
    zeros_BT = torch.zeros_like(answers.logp_BT)
    return Scores(
        ids_BT=answers.ids_BT,
        mask_BT=answers.mask_BT,
        views=views,
        author_BT=zeros_BT.long(),
        behaviour_logp_BT=answers.logp_BT,
        uniform_BT=zeros_BT + 0.9,
        group_B=torch.arange(3).repeat_interleave(G),
        reward_B=torch.arange(3 * G).double() % 2,
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "portion",
    [WHOLE, Portion(1, None, 4096), Portion(2, None, 5), Portion(None, 2, 5), Portion(2, 1, 4096)],
)
def test_microbatches_and_chunks_give_what_one_forward_gives(
    make_strategy, student, teacher, prompts, answers, dense_views, name, portion
):
    strategy = make_strategy(name)
    reads = dry_run(strategy, 42)
    views = score(views_of(student, teacher), prompts, answers, reads, portion)
    assert {view: frozenset(x.known) for view, x in views.items()} == reads.requests
    for view, requests in reads.requests.items():
        for request in requests:
            got, expected = (x[view].read(request) for x in (views, dense_views))
            torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)
    signal, reference = (strategy(scores_of(x, answers)) for x in (views, dense_views))
    torch.testing.assert_close(signal.advantage_BT, reference.advantage_BT, atol=1e-4, rtol=0)


def test_nothing_is_kept_that_was_not_asked_for(student, teacher, prompts, answers):
    logp = frozenset({("logp",)})
    reads = Reads(
        {"student": logp, "teacher": logp}, frozenset({"teacher"}), frozenset({"student"})
    )
    views = score(
        views_of(student, teacher), prompts, answers, reads, Portion(None, None, chunk=64)
    )
    assert views.keys() == {"student", "teacher"}
    assert views["teacher"].rows.chunk == 64
    with pytest.raises(KeyError, match="not asked for at start-up"):
        _ = views["student"].rows


def test_views_differ_by_weights_and_rendering(dense_views):
    logp = [dense_views[view].logp_BT for view in VIEWS]
    for i in range(4):
        for j in range(i):
            assert (logp[i] - logp[j]).abs().max() > 1e-2


@pytest.mark.parametrize("name", NAMES)
def test_ratio_is_1_before_the_first_update(
    make_strategy, student, teacher, prompts, answers, name, piece
):
    """Scores without gradient, then the loss with gradient, prompt by prompt: old equals
    current."""
    strategy = make_strategy(name)
    reads = dry_run(strategy, 42)
    views = score(views_of(student, teacher), prompts, answers, reads, Portion(2, None, 4096))
    scores = scores_of(views, answers)
    signal = strategy(scores)
    weight_BT = token_weights(scores.mask_BT, "sequence_mean_token_mean")
    moves = False
    for p in range(3):
        part = slice(p * G, (p + 1) * G)
        mask_bT = scores.mask_BT[part]
        current = {}
        for view in reads.trained:
            source = views_of(student, teacher)[view]
            prompt = prompts.renderings[source.rendering].select(slice(p, p + 1))
            hidden_bTH = source.policy.hidden(prompt, scores.ids_BT[part])
            current[view] = Rows(hidden_bTH[mask_bT], source.policy.head)
        own = piece(part, scores)
        loss = answer_loss(current, scores, signal, reinforce, weight_BT, own)
        assert loss.ratio_max.item() == pytest.approx(1, abs=1e-5)
        assert loss.total.requires_grad
        (gradient,) = torch.autograd.grad(loss.total, [student.head.linear.weight])
        assert gradient.isfinite().all()
        moves |= bool(gradient.any())
    assert moves


def test_targets_of_a_student_view_stay_while_the_student_moves(
    make_strategy, student, teacher, prompts, answers
):
    """Several updates per rollout: q* is made of the student before the step, head included."""
    reads = dry_run(make_strategy("decomposed"), 42)
    views = score(views_of(student, teacher), prompts, answers, reads, WHOLE)
    before = views["student_text"].rows.log_probs()
    weight = student.head.linear.weight
    original = weight.detach().clone()
    with torch.no_grad():
        weight.mul_(1.5)
        after = views["student_text"].rows.log_probs()
        weight.copy_(original)
    assert torch.equal(before, after)


def test_select_takes_the_images_of_its_prompts(renderings):
    two = renderings["image"].select(slice(1, 3))
    assert torch.equal(two.ids_PL, renderings["image"].ids_PL[1:])
    assert torch.equal(two.vision["pixel_values"], renderings["image"].vision["pixel_values"][1:])
