"""Out of memory: half as much goes through at a time, and the weights are those of a run that had
enough."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from gndpo.memory.retry import changed, fitting
from gndpo.pieces import Portion
from gndpo.update import UpdateSettings, update
from tests.test_pieces import WHOLE, answers, prompts, settings_of, step

__all__ = ["answers", "prompts", "step"]

CLOSE = 1e-9
ANSWERS_APART = 1e-6
"""The model's norms round in float32, also the gradient that a prompt gets from its answers."""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Portion(None, None, 7), Portion(4, None, 7)),  # of 8 prompts with 4 answers each
        (Portion(100, None, 7), Portion(4, None, 7)),
        (Portion(3, None, 7), Portion(2, None, 7)),
        (Portion(1, None, 7), Portion(1, 2, 7)),
        (Portion(None, 3, 7), Portion(1, 2, 7)),
        (Portion(None, 9, 7), Portion(4, 9, 7)),
        (Portion(1, 1, 7), None),
        (Portion(None, None, 7, tokens=101), Portion(None, None, 7, tokens=50)),
        (Portion(None, None, 7, tokens=1), None),
    ],
    ids=str,
)
def test_half_a_portion(before: Portion, after: Portion | None) -> None:
    assert before.halved(prompts=8, group=4) == after


def test_what_to_type_is_what_changed() -> None:
    assert changed("updates", Portion(1, None, 7), Portion(1, 2, 7)) == "updates.answers=2"
    assert changed("rollout", WHOLE, Portion(1, 2, 7)) == "rollout.micro=1 rollout.answers=2"


@pytest.fixture
def failing(student) -> Iterator[Any]:
    """failing(policy, call, backward): its first MLP runs out of memory in that call."""
    handles = []

    def fail(policy: Any, call: int, *, backward: bool) -> None:
        calls = iter(range(1, 1000))

        def count(*_: Any) -> None:
            if next(calls) == call:
                raise torch.OutOfMemoryError("out of memory")

        layer = policy.backbone.get_decoder().layers[0].mlp
        hook = layer.register_full_backward_pre_hook if backward else layer.register_forward_hook
        handles.append(hook(count))

    yield fail
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("call", [1, 2, 4])
@pytest.mark.parametrize(
    ("portion", "close"), [(WHOLE, CLOSE), (Portion(1, None, 9), ANSWERS_APART)], ids=str
)
def test_the_weights_are_those_of_an_undisturbed_step(
    step: Any, failing: Any, portion: Portion, close: float, call: int, *, backward: bool
) -> None:
    """Two epochs: what was updated before stays, what was half summed up is dropped."""
    ends = []
    for disturbed in (False, True):
        ours, views, trained, batch = step(portion)
        if disturbed:
            failing(ours, call, backward=backward)
        settings = settings_of(portion, epochs=2, clip_norm=0.5)
        optimizer = torch.optim.SGD(ours.parameters(), lr=0.05)
        row = update(views, trained, batch, optimizer, settings, halves=True)
        assert (settings.portion != portion) == disturbed
        ends.append((row, [p.detach().clone() for p in ours.parameters()]))
    assert ends[0][0] == pytest.approx(ends[1][0], abs=close)
    for a, b in zip(ends[0][1], ends[1][1], strict=True):
        torch.testing.assert_close(a, b, atol=close, rtol=0)


def lacking() -> None:
    raise torch.OutOfMemoryError("out of memory")


@pytest.mark.parametrize(
    ("portion", "sentence"),
    [
        (WHOLE, "out of memory with updates.micro=2 updates.answers=null updates.tokens=null"),
        (Portion(1, 1, 7), "out of memory with updates.micro=1 updates.answers=1"),
    ],
)
def test_a_second_time_is_one_sentence(portion: Portion, sentence: str) -> None:
    limits: UpdateSettings = settings_of(portion)
    with pytest.raises(Exception, match=sentence):
        fitting("updates", limits, lacking, views={}, prompts=4, group=2)


RUN = ("model.dtype=float64", "optimizer=sgd", "optimizer.lr=0.1", "checkpoint.every=1")


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(max((folder / "checkpoints").glob("step-*")) / "student.safetensors")


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"call": 2, "learning": False, "backward": False}, "rollout.micro=2"),
        ({"call": 1, "learning": True, "backward": True}, "updates.micro=2"),
    ],
)
def test_a_run_goes_on_in_halves(run, injected, readable, fault, said) -> None:
    """Once, in the second step; the third one takes halves from the start."""
    whole = run(*RUN)
    assert whole.code == 0, whole.err
    expected = weights(whole.folder)
    whole.folder.rename(whole.folder.with_name("whole"))
    done = run(*RUN, *injected("OutOfMemory", step=1, times=1, **fault))
    assert done.code == 0, done.err
    assert done.err.count("out of memory: the run goes on with") == 1
    assert said in done.err
    readable(done, 3)
    for name, x in weights(done.folder).items():
        torch.testing.assert_close(x, expected[name], atol=CLOSE, rtol=0)


def test_a_run_that_never_fits_ends_with_one_sentence(run, injected, readable) -> None:
    fault = {"step": 1, "call": 1, "times": 99, "learning": True, "backward": True}
    done = run(*injected("OutOfMemory", **fault))
    assert done.code == 1
    assert "out of memory with updates.micro=2" in done.err
    assert "Traceback" not in done.err
    readable(done, 1)
