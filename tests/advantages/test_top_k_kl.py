"""top_k_kl: golden values of a student top 2 and a teacher top 2, its limit full_kl, and what the
renormalizations leave out."""

import functools
import itertools

import pytest
import torch
from golden import BATCH, LOGITS, close
from torch import tensor

from gndpo.errors import UserError
from gndpo.reads import dry_run

RENORMALIZE = list(itertools.product((True, False), repeat=2))


@pytest.fixture(scope="session")
def top_k_kl(make_strategy):
    """top_k_kl(target, student): both renormalizations by place, other knobs by name."""

    def make(target=True, student=True, **knobs):
        both = {"renormalize_target": target, "renormalize_student": student}
        return make_strategy("top_k_kl", **both | {"k": 2} | knobs)

    return make


@pytest.fixture
def first(outcome):
    """Value and gradient at the first token alone."""
    logits = {view: x[:, :1] for view, x in LOGITS.items()}
    return functools.partial(outcome, logits=logits, ids=tensor([[0]]), mask=tensor([[1]]))


def test_golden_reverse_on_the_students_top_2(top_k_kl, first):
    renormalized = first(top_k_kl())
    assert renormalized.value == pytest.approx(0.21916203, abs=1e-6)
    close(renormalized.gradients["student"][0, 0], [-0.35250557, 0.35250557, 0, 0, 0])
    stopped = first(top_k_kl(False, False))
    assert stopped.value == pytest.approx(0.05129123, abs=1e-6)
    expected = [-0.23281191, 0.24878152, -0.00808830, -0.00490580, -0.00297552]
    close(stopped.gradients["student"][0, 0], expected)


def test_the_stop_gradient_form_promotes_what_the_teacher_likes_better(top_k_kl, first):
    """Before the softmax's centring the gradient on an id of the support is p log(p / q), without
    the constant p of the plain form."""
    gradient_V = first(top_k_kl(False, False)).gradients["student"][0, 0]
    p, q = (LOGITS[view][0, 0].softmax(-1) for view in ("student", "teacher"))
    inner_V = (p * (p / q).log()).where(p >= p.topk(2).values[-1], 0.0)
    close(gradient_V, inner_V - inner_V.sum() * p, 1e-12)


@pytest.mark.parametrize(
    ("renormalize", "values"),
    [
        ((True, False), [0.55447561, 0.55568272, 1.89564696]),
        ((True, True), [0.02063565, 0.12245933, 0.02262230]),
        ((False, False), [0.34348657, 0.14499817, 1.30941310]),
    ],
)
def test_golden_forward_on_the_teachers_top_2(top_k_kl, outcome, renormalize, values):
    strategy = top_k_kl(*renormalize, view="teacher", direction="forward")
    done = outcome(strategy, LOGITS, **BATCH)
    assert done.value == pytest.approx(sum(values) / 3, abs=1e-6)
    assert not done.signal.advantage_BT.any()


def test_golden_gradient_of_the_baseline_of_trust_region(top_k_kl, make_strategy, outcome):
    """Forward on all tokens: what trust_region does if it rejects every one."""
    strategy = top_k_kl(True, False, view="teacher", direction="forward")
    done = outcome(strategy, LOGITS, **BATCH)
    expected = [
        [-0.12963965, 0.08666424, -0.00824399, 0.03188199, 0.01933741],
        [0.04949356, 0.00869056, -0.12588535, 0.04949356, 0.01820766],
        [-0.20181052, -0.08030341, 0.06904131, 0.02539888, 0.18767374],
    ]
    close(done.gradients["student"][0], expected)
    rejected = BATCH | {"uniform": torch.ones(1, 3).double()}
    outliers = outcome(make_strategy("trust_region", k=2), LOGITS, **rejected)
    close(done.gradients["student"], outliers.gradients["student"], 1e-12)


@pytest.mark.parametrize("direction", ["reverse", "forward", 0.3])
@pytest.mark.parametrize("view", ["student", "teacher"])
@pytest.mark.parametrize("renormalize", RENORMALIZE)
def test_all_ids_are_full_kl(top_k_kl, make_strategy, outcome, dense, direction, view, renormalize):
    views = dense(seed=1, V=7)
    strategy = top_k_kl(*renormalize, view=view, k=7, direction=direction)
    done = outcome(strategy, views.logits, **views.batch)
    full = outcome(make_strategy("full_kl", direction=direction), views.logits, **views.batch)
    assert done.value == pytest.approx(full.value, abs=1e-12)
    close(done.gradients["student"], full.gradients["student"], 1e-12)


def test_both_renormalized_is_blind_to_the_other_ids(top_k_kl, first):
    """Half of the student's mass moved off the teacher's top 2: the same value, and no gradient
    there; unless the student is left as it is."""
    options = {"view": "teacher", "direction": "forward"}
    logits = {view: x[:, :1].clone() for view, x in LOGITS.items()}
    logits["student"][..., 4] += 3.0
    for student, changes in ((True, False), (False, True)):
        strategy = top_k_kl(True, student, **options)
        plain, moved = first(strategy), first(strategy, logits=logits)
        assert (abs(moved.value - plain.value) > 0.5) == changes
        assert (moved.gradients["student"][..., [1, 3, 4]].abs().max() > 1e-12) == changes


def test_forward_pulls_an_equal_student_into_the_top_k(top_k_kl, outcome):
    """L1 norm 2 (1 - m) with the teacher renormalized, 2 m (1 - m) without, m the mass on them;
    nothing if both are, and nothing in reverse."""
    equal = dict.fromkeys(LOGITS, LOGITS["teacher"])
    m = LOGITS["teacher"].softmax(-1).topk(2).values.sum(-1)
    expected = {(True, False): 2 * (1 - m), (False, False): 2 * m * (1 - m), (True, True): 0 * m}
    for renormalize, size in expected.items():
        strategy = top_k_kl(*renormalize, view="teacher", direction="forward")
        done = outcome(strategy, equal, aggregation="sequence_mean_token_sum", **BATCH)
        close(done.gradients["student"].abs().sum(-1), size, 1e-12)
    for renormalize in ((True, True), (False, False)):
        done = outcome(top_k_kl(*renormalize), equal, **BATCH)
        close(done.gradients["student"], torch.zeros(1, 3, 5), 1e-12)


def test_all_tokens_count_whoever_wrote_them(top_k_kl, outcome, dense):
    views = dense(seed=1)
    authors = torch.arange(30).reshape(6, 5) % 3
    own, others = (
        outcome(top_k_kl(), views.logits, **views.batch, author=x) for x in (None, authors)
    )
    assert torch.equal(own.gradients["student"], others.gradients["student"])


def test_no_distribution_is_kept(top_k_kl):
    assert not dry_run(top_k_kl(), 40).whole


def test_ids_that_do_not_exist_are_refused(top_k_kl):
    with pytest.raises(UserError, match="view=studnet: choose whose likeliest ids"):
        dry_run(top_k_kl(view="studnet"), 40)
    with pytest.raises(UserError, match="k=41 likeliest ids are asked for; choose 1 to 40"):
        dry_run(top_k_kl(k=41), 40)
