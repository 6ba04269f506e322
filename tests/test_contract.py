"""What every strategy of conf/advantage must obey. A new strategy is found by its YAML; nothing
here names one."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

from gndpo.errors import UserError
from gndpo.scores import Scores
from gndpo.views import VIEWS

FILES = sorted((Path(__file__).parents[1] / "conf" / "advantage").glob("*.yaml"))
NAMES = [path.stem for path in FILES]
KNOBS = [
    (path.stem, key)
    for path in FILES
    for key, value in OmegaConf.load(path).items()
    if key[0] != "_" and not isinstance(value, DictConfig)  # a part has knobs of its own
]
every_strategy = pytest.mark.parametrize("name", NAMES)
any_batch = given(seed=st.integers(0, 10_000))
few = settings(max_examples=6)


def tensors(scores):
    """Every tensor that a strategy can reach, by name."""
    plain = {key: x for key, x in vars(scores).items() if isinstance(x, torch.Tensor)}
    for view, x in scores.views.items():
        plain |= {(view, request): value for request, value in x.known.items()}
        plain[view] = x.rows.hidden_NH
    return plain


def answers(done):
    """All [B, T] tensors that a signal hands out."""
    signal = done.signal
    matches = {f"match {match.name}": match.weight_BT for match in signal.matches}
    return {"advantage": signal.advantage_BT, **matches, **signal.notes}


def visible(done):
    """Everything that a change of knob may show in, as one vector."""
    parts = [*answers(done).values(), *done.gradients.values(), *done.loss.parts.values()]
    return torch.cat([part.flatten().double() for part in parts])


def candidates(value):
    """Other values for a knob, by the type of the one it has."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [max(1, value // 4)]
    if isinstance(value, float):
        return [value / 2, 3 * value, 2 * value + 1, (value + 1) / 2]
    return [0.5, -0.5, 2] if value is None else ["forward", "reverse", 0.5, "teacher", "group"]


def twin(view):
    """The student's view of the same rendering; for renderings that it has none of, its plain
    one."""
    student = view.replace("teacher", "student")
    return student if student in VIEWS else "student"


@few
@any_batch
@every_strategy
@pytest.mark.parametrize("garbage", [float("nan"), float("inf"), -float("inf")])
def test_padding_is_exactly_zero_and_never_read(make_strategy, outcome, dense, name, garbage, seed):
    clean = dense(seed)
    padding_BT = ~clean.batch["mask"]
    dirty = {
        view: x.masked_fill(padding_BT[..., None], garbage) for view, x in clean.logits.items()
    }
    batch = dict(clean.batch)
    batch["uniform"] = batch["uniform"].masked_fill(padding_BT, garbage)
    strategy = make_strategy(name)
    done, reference = (
        outcome(strategy, dirty, **batch),
        outcome(strategy, clean.logits, **clean.batch),
    )
    for key, x_BT in answers(done).items():
        assert not x_BT[padding_BT].any(), key
        assert torch.equal(x_BT, answers(reference)[key]), key
    assert done.value == reference.value
    for view, gradient in done.gradients.items():
        assert torch.equal(gradient, reference.gradients[view])


@few
@any_batch
@every_strategy
def test_finite_for_impossible_tokens(make_strategy, outcome, dense, name, seed):
    """Log-probabilities down to -1e4, on either side."""
    hard = dense(seed)
    for view, logits in hard.logits.items():
        logits[VIEWS.index(view), :, ::2] -= 1e4
        logits[4 + VIEWS.index(view) % 2, :, 1::2] -= 1e4
    scores = hard.scores()
    assert min(x.logp_BT.min() for x in scores.views.values()) < -9e3
    done = outcome(make_strategy(name), hard.logits, **hard.batch)
    assert visible(done).isfinite().all()


@few
@any_batch
@every_strategy
def test_inputs_are_not_changed(make_strategy, dense, name, seed):
    scores = dense(seed).scores()
    make_strategy(name)(scores)
    before = {key: x.clone() for key, x in tensors(scores).items()}
    make_strategy(name)(scores)
    after = tensors(scores)
    assert before.keys() == after.keys()
    for key, x in after.items():
        assert torch.equal(x, before[key]), key


@every_strategy
def test_a_pure_function(make_strategy, outcome, dense, name):
    views, strategy = dense(seed=3), make_strategy(name)
    once, again = (outcome(strategy, views.logits, **views.batch) for _ in range(2))
    assert torch.equal(visible(once), visible(again))


@every_strategy
def test_answers_that_others_wrote_are_no_accident(make_strategy, outcome, dense, name):
    """No crash, and no advantage but an imitation's."""
    views = dense(seed=12)
    views.batch["author"] = torch.ones(6, 5).long()
    done = outcome(make_strategy(name), views.logits, **views.batch)
    assert visible(done).isfinite().all()
    assert not done.signal.advantage_BT.any()


@every_strategy
def test_no_gradient_through_the_signal(make_strategy, outcome, dense, name):
    views = dense(seed=4)
    leaves = {view: x.clone().requires_grad_() for view, x in views.logits.items()}
    done = outcome(make_strategy(name), leaves, **views.batch)
    assert all(leaf.grad is None for leaf in leaves.values())
    assert not any(x.requires_grad for x in answers(done).values())


@every_strategy
def test_a_different_teacher_gives_a_signal(make_strategy, outcome, dense, name):
    views = dense(seed=5)
    done = outcome(make_strategy(name), views.logits, **views.batch)
    assert done.gradients["student"].abs().max() > 1e-6
    advantage_BT = done.signal.advantage_BT
    assert advantage_BT.shape == views.batch["mask"].shape
    assert advantage_BT.dtype == torch.double


@every_strategy
def test_the_teacher_itself_gives_no_signal(make_strategy, outcome, dense, name):
    """With every answer rewarded alike. A method that moves even then says so and by how much."""
    strategy = make_strategy(name)
    if "At teacher = student" in (strategy.func.__doc__ or ""):
        return
    views = dense(seed=6)
    logits = {view: views.logits[twin(view)] for view in VIEWS}
    done = outcome(strategy, logits, **views.batch | {"reward": torch.ones(6).double()})
    assert done.signal.advantage_BT.abs().max() < 1e-12
    for gradient in done.gradients.values():
        assert gradient.abs().max() < 1e-12


@pytest.mark.parametrize(("name", "knob"), KNOBS)
def test_every_knob_changes_some_output(make_strategy, outcome, dense, name, knob):
    """With answers that the teacher began; early, midway or late in a run."""
    views = dense(seed=7, B=12)
    views.batch["author"] = torch.arange(5).lt(1).long().repeat(12, 1)
    value = OmegaConf.load(FILES[NAMES.index(name)])[knob]
    for step in range(3):
        batch = views.batch | {"step": step, "steps": 3}
        default = visible(outcome(make_strategy(name), views.logits, **batch))
        for candidate in candidates(value):
            try:
                done = outcome(make_strategy(name, **{knob: candidate}), views.logits, **batch)
            except (TypeError, ValueError, UserError):
                continue  # not a value of this knob
            changed = visible(done)
            if changed.shape != default.shape or (changed - default).abs().max() > 1e-6:
                return
    pytest.fail(f"{name}: no other value of {knob} than {value} changes anything")


@few
@any_batch
@every_strategy
def test_row_order_does_not_matter(make_strategy, outcome, dense, name, seed):
    views, strategy = dense(seed), make_strategy(name)
    order = torch.tensor([3, 5, 0, 2, 4, 1])
    logits = {view: x[order] for view, x in views.logits.items()}
    batch = {key: x[order] for key, x in views.batch.items()}
    done, permuted = (
        outcome(strategy, views.logits, **views.batch),
        outcome(strategy, logits, **batch),
    )
    assert permuted.value == pytest.approx(done.value, abs=1e-12)
    for key, x_BT in answers(done).items():
        torch.testing.assert_close(answers(permuted)[key], x_BT[order], atol=1e-12, rtol=0)
    for view, gradient in done.gradients.items():
        torch.testing.assert_close(permuted.gradients[view], gradient[order], atol=1e-12, rtol=0)


@few
@any_batch
@every_strategy
def test_more_padding_does_not_matter(make_strategy, outcome, dense, name, seed):
    views, strategy = dense(seed, T=4), make_strategy(name)
    pad = torch.nn.functional.pad
    logits = {view: pad(x, (0, 0, 0, 3), value=torch.nan) for view, x in views.logits.items()}
    wide = {key: pad(views.batch[key], (0, 3)) for key in ("ids", "mask", "uniform")}
    done = outcome(strategy, views.logits, **views.batch)
    padded = outcome(strategy, logits, **views.batch | wide)
    assert padded.value == pytest.approx(done.value, abs=1e-12)
    for key, x_BT in answers(done).items():
        torch.testing.assert_close(answers(padded)[key], pad(x_BT, (0, 3)), atol=1e-12, rtol=0)


@every_strategy
def test_single_precision_gives_the_same_signal(make_strategy, dense, name):
    views = dense(seed=10)
    single = {view: x.float() for view, x in views.logits.items()}
    exact = make_strategy(name)(views.scores()).advantage_BT
    rounded = make_strategy(name)(Scores.from_logits(**single, **views.batch)).advantage_BT
    assert rounded.dtype == torch.float
    torch.testing.assert_close(rounded.double(), exact, atol=1e-4, rtol=0)
