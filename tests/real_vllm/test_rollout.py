"""A real vLLM writes what the student itself would, with the student's newest weights: a language
model, and an InternVL that sees."""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from engines.processes import await_end, group
from PIL import Image

from gndpo.data.rows import Row
from gndpo.engines.asking import questions
from gndpo.engines.server import opened
from gndpo.engines.teacher import GENERATE
from gndpo.engines.tokens import answers_of, requests
from gndpo.engines.vllm import Vllm
from gndpo.models.parts import part_of
from gndpo.rollout import generate
from gndpo.writers import Desk
from tests.real_vllm.conftest import ARGUMENTS, Checkpoint, desk_of, gap

pytestmark = pytest.mark.vllm

CLOSE = 1e-3
"""Nats between vLLM's float32 and ours, on weights that are ten times as large as trained ones."""
TILE = 32


def row(name: str, problem: str, images: Sequence[Image.Image] = ()) -> Row:
    answer: dict[str, Any] = {"answer": "", "choices": [], "solution": "", "kind": "", "fields": {}}
    return Row(name=name, images=[*images], problem=problem, **answer)


def noise(seed: int) -> Image.Image:
    """As large as a tile: resizing is where image libraries differ."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(256, (TILE, TILE, 3), generator=generator, dtype=torch.uint8)
    return Image.fromarray(pixels.numpy())


ROWS = {
    "text_qwen3": [row("a", "1 and 2?"), row("b", "what comes after 3, 4, 5?")],
    "internvl": [
        row("a", "what is shown here?", [noise(0)]),
        row("b", "which of both is darker?", [noise(1), noise(2)]),
        row("c", "1 and 2?"),
    ],
}


@pytest.fixture(scope="module", params=list(ROWS))
def desk(request: pytest.FixtureRequest, checkpoint: Checkpoint) -> Desk:
    return desk_of(checkpoint(request.param, 0), ROWS[request.param])


@pytest.fixture(scope="module")
def writer(python: str, desk: Desk, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vllm]:
    """It starts a server when it is first asked, and ends it with the last test of this student."""
    made = Vllm(
        url=None, python=python, folder=None, arguments=ARGUMENTS, start_s=1800, answer_s=600
    )
    with opened(made, tmp_path_factory.mktemp("engine")):
        yield made


def written(writer: Vllm, desk: Desk, **sampling: Any) -> Any:
    """Answers, sampled otherwise than a run may."""
    writer(desk)  # starts the server, if there is none
    told = questions(desk.prompts, "image")
    bodies = requests(desk, told)
    for body in bodies:
        body["sampling_params"].update(sampling)
    return answers_of([writer.post(GENERATE, body) for body in bodies], told, desk)


@torch.no_grad()
def nudge(desk: Desk, wanted: Callable[[str], bool]) -> None:
    """Add noise to the weights that are wanted."""
    generator = torch.Generator().manual_seed(1)
    for name, parameter in desk.student.policy.model.named_parameters():
        if wanted(name):
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))


def test_greedy_answers_are_the_students_own(writer: Vllm, desk: Desk) -> None:
    theirs = written(writer, desk, temperature=0.0, n=1)
    rendering = desk.prompts.renderings["image"]
    ours = generate(desk.student.policy, rendering, group=1, max_tokens=8, uniform_BT=None)
    assert theirs.ids_BT.tolist() == ours.ids_BT.tolist()
    assert theirs.truncated_B.tolist() == ours.truncated_B.tolist()
    assert (theirs.logp_BT - ours.logp_BT).abs().max() < CLOSE


def test_sampled_tokens_have_the_students_probabilities_and_come_again(
    writer: Vllm, desk: Desk
) -> None:
    first, again = writer(desk), writer(desk)
    others = writer(replace(desk, place_P=[place + 7 for place in desk.place_P]))
    assert gap(desk, first) < CLOSE
    assert first.ids_BT.tolist() == again.ids_BT.tolist()
    assert first.ids_BT.tolist() != others.ids_BT.tolist()
    assert first.ids_BT[0].tolist() != first.ids_BT[1].tolist()


@pytest.mark.parametrize("part", ["language", "vision"])
def test_new_weights_take_effect(writer: Vllm, desk: Desk, part: str) -> None:
    """Also those of the vision tower, whose images the server has seen before."""
    before = writer(desk)
    nudge(desk, lambda name: part_of(name) == part)
    sees = bool(desk.prompts.renderings["image"].vision)
    assert (gap(desk, before) > 10 * CLOSE) is (part == "language" or sees)
    after = writer(replace(desk, step=desk.step + 1))
    assert gap(desk, after) < CLOSE


@pytest.mark.parametrize("desk", ["text_qwen3"], indirect=True)
def test_a_killed_server_is_started_again_with_the_newest_weights(writer: Vllm, desk: Desk) -> None:
    nudge(desk, lambda name: part_of(name) == "language")
    later = replace(desk, step=5)
    before = writer(later)
    assert writer.process is not None
    old = group(writer.process.pid)
    os.kill(sorted(old - {writer.process.pid})[0], signal.SIGKILL)
    await_end(old, 60.0)
    assert not group(writer.process.pid)
    after = writer(later)
    assert after.ids_BT.tolist() == before.ids_BT.tolist()
    assert gap(later, after) < CLOSE


def test_nothing_is_left_behind(writer: Vllm, desk: Desk) -> None:
    writer(desk)
    assert writer.process is not None
    leader = writer.process.pid
    assert len(group(leader)) > 1
    writer.close()
    assert not group(leader)
