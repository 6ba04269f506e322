"""Prompts that a thread prepares while the model works: the same run, and no work twice."""

import threading
from collections import Counter

import pytest
from safetensors.torch import load_file
from transformers import GotOcr2ImageProcessorPil

from gndpo.data.module import Steps, early
from gndpo.errors import UserError
from tests.runs import conftest as runs
from tests.runs.test_run import numbers

pair, small, command, run = runs.pair, runs.small, runs.command, runs.run


def alive():
    return [thread for thread in threading.enumerate() if thread.name.startswith("prompts")]


@pytest.mark.parametrize("ahead", [1, 2, 9])
def test_calls_come_in_order_and_no_more_are_begun_than_asked_for(ahead):
    drawn = []

    def calls():
        for i in range(5):
            drawn.append(i)
            yield lambda i=i: (i, threading.current_thread().name)

    for i, call in enumerate(early(calls(), ahead)):
        assert drawn == list(range(min(i + 1 + ahead, 5)))
        assert call() == (i, "prompts_0")
    assert not alive()


def test_what_goes_wrong_ahead_is_raised_at_its_step_and_leaves_no_thread():
    def batch(step):
        if step == 1:
            raise UserError("row 3: broken")
        return step

    steps = iter(Steps(batch, range(4), ahead=2))
    assert next(steps)() == 0
    second = next(steps)
    with pytest.raises(UserError, match=r"^row 3: broken$"):
        second()
    assert alive()
    del steps
    assert not alive()


@pytest.mark.parametrize("method", ["decomposed", "vcsd"])
def test_a_run_is_bitwise_the_same_with_and_without(run, method):
    common = (f"advantage={method}", "data.max_prompt_tokens=36", "data.overlong=drop")
    plain, ahead = (run(*common, f"data.ahead={n}", name=f"ahead{n}") for n in (0, 2))
    assert ahead.code == 0, ahead.err
    assert numbers(ahead.rows()) == numbers(plain.rows())
    assert sum(row["rollout/dropped"] for row in plain.rows()) > 0
    assert ahead.rows("samples.jsonl") == plain.rows("samples.jsonl")
    assert ahead.rows("eval.jsonl") == plain.rows("eval.jsonl")
    ours, theirs = (
        load_file(done.folder / "checkpoints/step-0000003/student.safetensors")
        for done in (ahead, plain)
    )
    assert all(x.equal(theirs[name]) for name, x in ours.items())


def test_each_image_is_processed_once_per_step_and_rendering_by_the_thread(run, monkeypatch):
    """3 steps of 4 prompts with one image each, of which vcsd reads two renderings."""
    seen = Counter()
    process = GotOcr2ImageProcessorPil._preprocess

    def counting(self, images, **options):
        seen[threading.current_thread().name] += len(images)
        return process(self, images, **options)

    monkeypatch.setattr(GotOcr2ImageProcessorPil, "_preprocess", counting)
    counts = {}
    for ahead in (0, 1):
        seen.clear()
        assert run("advantage=vcsd", f"data.ahead={ahead}", name=f"{ahead}").code == 0
        counts[ahead] = dict(seen)
    assert counts[1]["prompts_0"] == 3 * 4 * 2
    assert counts[0] == {"MainThread": counts[1]["MainThread"] + 3 * 4 * 2}


@pytest.mark.parametrize("stop", [UserError("stop here"), KeyboardInterrupt()])
def test_a_run_that_stops_inside_a_step_leaves_no_thread(run, monkeypatch, stop):
    def fails(*_):
        assert alive()
        raise stop

    monkeypatch.setattr("gndpo.module.samples", fails)
    monkeypatch.setattr("signal.signal", lambda *_: None)  # Lightning switches Ctrl-C off for good
    done = run("data.ahead=1")
    status = "failed" if isinstance(stop, UserError) else "interrupted"
    assert (done.code, done.status["status"]) == (1, status)
    assert not alive()
