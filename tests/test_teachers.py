"""Teachers: copies of the student that stay, follow or jump; the student without its adapter; and
combinations that are refused."""

import copy

import pytest
import torch
from omegaconf import OmegaConf

from gndpo.errors import UserError
from gndpo.policies import add_adapter
from gndpo.policy import Policy
from gndpo.rollout import generate
from gndpo.sources import Source
from gndpo.teachers import AdapterOff, Teachers, ema, make_teachers, periodic, sources

SETTINGS = {"column": None, "follow": None, "context": None, "degrade": 0.1}


def refuse(name):
    raise AssertionError(f"{name} was loaded")


def make(student, load=refuse, **settings):
    return make_teachers(student, load, **(SETTINGS | settings))


def weights(policy):
    return {name: p.detach().clone() for name, p in policy.named_parameters()}


def moved(policy, by):
    """A copy that has trained."""
    other = copy.deepcopy(policy)
    with torch.no_grad():
        for i, p in enumerate(other.parameters()):
            p.add_(by * (1 + i % 3))
    return other


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a | b)


def test_an_average_follows_the_student(student):
    teachers = make(student, weights="student", follow=lambda *x: ema(*x, rate=0.25))
    start, now = weights(student), moved(student, 0.1)
    later = weights(now)
    for step in (1, 2):
        teachers.update(now, step)
    (teacher,) = teachers.of.values()
    for name, x in weights(teacher).items():
        expected = start[name] + (1 - 0.75**2) * (later[name] - start[name])
        torch.testing.assert_close(x, expected, atol=1e-12, rtol=0)
    assert same(weights(now), later)
    assert same(weights(student), start)
    assert teachers.moving is teacher.model


def test_a_periodic_copy_jumps_and_stays_between(student):
    teachers = make(student, weights="student", follow=lambda *x: periodic(*x, every=3))
    (teacher,) = teachers.of.values()
    start = weights(student)
    students = {step: moved(student, 0.1 * step) for step in range(1, 8)}
    for step, now in students.items():
        teachers.update(now, step)
        since = step // 3 * 3
        assert same(weights(teacher), weights(students[since]) if since else start)


def test_a_frozen_copy_stays(student):
    teachers = make(student, weights="student")
    start = weights(student)
    teachers.update(moved(student, 0.1), 1)
    (teacher,) = teachers.of.values()
    assert teacher is not student
    assert same(weights(teacher), start)
    assert teachers.moving is None


@pytest.mark.parametrize("follow", [None, lambda *x: ema(*x, rate=1.0)])
def test_a_teacher_shares_nothing_with_the_student_and_never_trains(student, renderings, follow):
    teachers = make(student, weights="student", follow=follow)
    (teacher,) = teachers.of.values()
    ids_BT = torch.tensor([[5, 6]] * 3)
    before = teacher.hidden(renderings["image"], ids_BT)
    assert torch.equal(before, student.hidden(renderings["image"], ids_BT))
    assert not before.requires_grad
    assert not any(p.requires_grad for p in teachers.parameters())
    assert all(p.requires_grad for p in student.parameters())
    now = moved(student, 0.05)
    teachers.update(now, 1)
    after = teacher.hidden(renderings["image"], ids_BT)
    expected = before if follow is None else now.hidden(renderings["image"], ids_BT)
    torch.testing.assert_close(after, expected)


@pytest.mark.parametrize("rate", [0.0, 1.5, -0.1])
def test_rates_outside_0_to_1_are_refused(student, rate):
    with pytest.raises(UserError, match=r"teacher\.follow\.rate=.* must be in \(0, 1\]"):
        ema(copy.deepcopy(student), student, 1, rate=rate)


def test_a_period_is_at_least_one_step(student):
    with pytest.raises(UserError, match=r"teacher\.follow\.every=0 must be 1 or larger"):
        periodic(copy.deepcopy(student), student, 1, every=0)


def test_checkpoints_are_loaded_once_each_and_frozen(student, teacher):
    loaded = []

    def load(name):
        loaded.append(name)
        return copy.deepcopy(teacher)

    names = {"sum": "pair", "top": "pair", "rest": "other", 3: "student"}
    teachers = make(student, load, weights=names, column="kind")
    assert loaded == ["pair", "other"]
    assert list(teachers.of) == ["sum", "top", "rest", "3"]
    assert teachers.of["sum"] is teachers.of["top"] is not teachers.of["rest"]
    assert len(teachers.policies) == 3
    assert not any(p.requires_grad for p in teachers.parameters())
    assert (teachers.source.column, teachers.source.rendering) == ("kind", "image")


def test_one_of_several_teachers_may_follow(student, teacher):
    names = {"sum": "pair", "top": "student"}
    teachers = make(
        student,
        lambda _: teacher,
        weights=names,
        column="kind",
        follow=lambda *x: ema(*x, rate=1.0),
    )
    before, now = weights(teacher), moved(student, 0.1)
    teachers.update(now, 1)
    assert same(weights(teachers.of["top"]), weights(now))
    assert same(weights(teachers.of["sum"]), before)


def test_every_teacher_view_stands_in_the_context_and_no_student_view_does(student):
    teachers = make(student, weights="student", context="{problem} {answer}")
    views = sources(Source.of(student), teachers.source)
    assert {name: source.rendering for name, source in views.items()} == {
        "student": "image",
        "student_text": "text",
        "teacher": "privileged_image",
        "teacher_text": "privileged_text",
        "teacher_degraded": "privileged_degraded",
        "teacher_black": "privileged_black",
    }


@pytest.fixture
def adapted(student):
    """The student with low-rank matrices that have trained, and a copy from before them."""
    base, trained = copy.deepcopy(student), copy.deepcopy(student)
    add_adapter(trained.model, OmegaConf.create({"r": 2, "lora_alpha": 4}), ())
    policy = Policy(trained.model, student.vocabulary)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, p in policy.model.named_parameters():
            if "lora_" in name:
                p.add_(0.3 * torch.randn(p.shape, generator=generator))
    return base, policy


IDS_BT = torch.tensor([[5, 6, 9], [8, 8, 4], [30, 12, 7]])


def test_without_its_adapter_the_student_is_what_it_was(adapted, renderings):
    base, student = adapted
    (off,) = make(student, weights="adapter_off").of.values()
    for name in ("image", "text"):
        rendering = renderings[name]
        plain, switched, tuned = (x.hidden(rendering, IDS_BT) for x in (base, off, student))
        assert torch.equal(plain, switched)
        assert (plain - tuned).abs().max() > 1e-2
    draws = torch.rand(3, 6, generator=torch.Generator().manual_seed(1)).double()
    options = {"group": 1, "max_tokens": 6, "uniform_BT": draws}
    a, b, c = (generate(x, renderings["image"], **options) for x in (base, off, student))
    assert torch.equal(a.ids_BT, b.ids_BT)
    assert torch.equal(a.logp_BT, b.logp_BT)
    assert not torch.equal(a.logp_BT, c.logp_BT)


def test_only_the_adapter_trains_and_reading_the_teacher_leaves_it_so(adapted, renderings):
    _, student = adapted
    off = make(student, weights="adapter_off")
    before = weights(student)
    for source in (off.source, off.source.seeing("text")):
        with torch.no_grad():
            source.policy.hidden(renderings[source.rendering], IDS_BT)
    trained = {name for name, p in student.named_parameters() if p.requires_grad}
    assert trained == {name for name in before if "lora_" in name}
    student.head.log_probs(student.hidden(renderings["image"], IDS_BT)).sum().backward()
    assert {name for name, p in student.named_parameters() if p.grad is not None} == trained
    assert same(weights(student), before)
    assert off.moving is None


def test_the_adapter_is_on_again_after_a_failure(adapted, renderings, monkeypatch):
    _, student = adapted
    off = AdapterOff(student.model, student.vocabulary)
    expected = student.hidden(renderings["image"], IDS_BT)

    def fail(*args, **kwargs):
        raise RuntimeError("out of memory")

    for method in ("encode", "advance"):
        with monkeypatch.context() as patch:
            patch.setattr(Policy, method, fail)
            with pytest.raises(RuntimeError, match="out of memory"):
                off.hidden(renderings["image"], IDS_BT)
        assert torch.equal(student.hidden(renderings["image"], IDS_BT), expected)
        assert all(p.requires_grad for name, p in student.named_parameters() if "lora_" in name)


def test_an_adapter_that_is_new_changes_nothing(student, renderings):
    fresh = copy.deepcopy(student)
    add_adapter(fresh.model, OmegaConf.create({"r": 4}), ())
    tuned = Policy(fresh.model, student.vocabulary)
    a, b = (x.hidden(renderings["image"], IDS_BT) for x in (student, tuned))
    torch.testing.assert_close(a, b, atol=1e-12, rtol=0)


def test_a_copy_of_a_student_with_an_adapter_follows_it(adapted):
    _, student = adapted
    teachers = make(student, weights="student", follow=lambda *x: ema(*x, rate=0.5))
    (teacher,) = teachers.of.values()
    before, now = weights(student), copy.deepcopy(student)
    with torch.no_grad():
        for name, p in now.named_parameters():
            p.add_(1.0 if "lora_" in name else 0.0)
    teachers.update(now, 1)
    for name, x in weights(teacher).items():
        torch.testing.assert_close(x, before[name] + (0.5 if "lora_" in name else 0))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"lora_dropout": 0.1}, r"model\.adapter\.lora_dropout must be 0"),
        ({"rank": 4}, "unexpected keyword argument 'rank'"),
        ({"r": 0}, "positive integer"),
        ({"target_modules": ["nowhere"]}, "not found in the base model"),
        ({"target_modules": ["lm_head"]}, r"lm_head\.lora_A.* would train; only low-rank"),
        ({"modules_to_save": ["lm_head"]}, "lm_head.* would train"),
        ({"bias": "all"}, "bias would train; only low-rank matrices"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_adapters_that_would_mean_something_else_are_refused(student, settings, sentence):
    with pytest.raises(UserError, match=sentence):
        add_adapter(copy.deepcopy(student).model, OmegaConf.create(settings), ())


FOLLOW = {"follow": lambda *x: ema(*x, rate=0.1)}


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"weights": "pair", "column": "kind"}, "give a column and one entry per value of it, or"),
        ({"weights": {"sum": "pair"}}, "teacher.column=None with teacher.weights={'sum': 'pair'}"),
        ({"weights": "pair", **FOLLOW}, "teacher.follow moves a copy of the student, and there is"),
        ({"weights": "adapter_off", **FOLLOW}, "teacher=ema, teacher=periodic or teacher.weights"),
        ({"weights": {"a": "pair"}, "column": "kind", **FOLLOW}, "there is none"),
        ({"weights": "adapter_off"}, "the student has no adapter; set model.adapter"),
        ({"weights": "student", "degrade": 1.0}, "teacher.degrade=1.0 must be between 0 and 1"),
        ({"weights": "student", "degrade": 0.0}, "teacher.degrade=0.0 must be between 0 and 1"),
    ],
)
def test_settings_that_do_not_go_together_are_one_sentence(student, settings, sentence):
    with pytest.raises(UserError, match=sentence):
        make(student, **settings)


def test_no_teacher_moves_without_a_copy(teacher, student):
    Teachers({"": teacher}).update(student, 1)
    assert Teachers({"": teacher}).moving is None
