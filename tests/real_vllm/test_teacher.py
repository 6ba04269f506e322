"""A real vLLM as a teacher says of every token what the same checkpoint says here: of a language
model, and of an InternVL that sees."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch

from gndpo.engines import server
from gndpo.engines.teacher import GENERATE, ServedTeacher, Service
from gndpo.engines.teacher_checks import check_served
from gndpo.engines.vllm import MODULE
from gndpo.errors import UserError
from gndpo.pieces import Portion
from gndpo.prompts import make_prompts
from gndpo.reads import Reads
from gndpo.rollout import Answers, generate
from gndpo.scoring import score
from gndpo.sources import ONLY, Source
from gndpo.views import View
from gndpo.writers import Desk
from tests.real_vllm.conftest import ARGUMENTS, ENVIRONMENT, Checkpoint, desk_of
from tests.real_vllm.test_rollout import CLOSE, ROWS
from tests.runs.conftest import Run, command, pair, run, small  # noqa: F401
from tests.runs.test_run import numbers

pytestmark = pytest.mark.vllm

NAMED = 400
"""Ids that a server may name: all that the tiny heads have."""
SERVICE = Service(inflight=8, likeliest=0, retries=2, pause=1.0, timeout=300.0, compare=None)
CONTEXT = "{problem} {problem}"


@dataclass(frozen=True)
class Stand:
    """A server of a checkpoint, and the same checkpoint here with answers that it wrote."""

    folder: Path
    url: str
    desk: Desk
    answers: Answers

    def teacher(self, likeliest: int) -> ServedTeacher:
        policy = self.desk.student.policy
        service = dataclasses.replace(SERVICE, likeliest=likeliest)
        return ServedTeacher(self.url, service, policy.vocabulary, lambda: policy)

    def view(self, source: Source) -> View:
        asked = frozenset({("logp",), ("top_k_ids", 3), ("top_k_logp", 3)})
        reads = Reads({"teacher": asked}, frozenset(), frozenset())
        whole = Portion(None, None, None)
        return score({"teacher": source}, self.desk.prompts, self.answers, reads, whole)["teacher"]


@pytest.fixture(scope="module", params=list(ROWS))
def stand(
    request: pytest.FixtureRequest,
    python: str,
    checkpoint: Checkpoint,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stand]:
    folder = checkpoint(request.param, 1)
    desk = desk_of(folder, ROWS[request.param])
    prompts = make_prompts(desk.prompts.rows, desk.processor, context=CONTEXT)
    desk = dataclasses.replace(desk, prompts=prompts)
    draws_BT = torch.rand(2 * len(prompts), 8, generator=torch.Generator().manual_seed(0))
    answers = generate(
        desk.student.policy,
        prompts.renderings["image"],
        group=2,
        max_tokens=8,
        uniform_BT=draws_BT,
    )
    port, log = server.free_port(), tmp_path_factory.mktemp("teacher") / "server.log"
    told = f"--model {folder} --host 127.0.0.1 --port {port} --dtype float32 --enable-scale-out"
    words = f"{told} --generation-config vllm --max-logprobs {NAMED} {ARGUMENTS}".split()
    process = server.start([python, "-m", MODULE, *words], log, ENVIRONMENT)
    try:
        server.await_health(process, f"http://127.0.0.1:{port}", log, 1800)
        yield Stand(folder, f"http://127.0.0.1:{port}", desk, answers)
    finally:
        server.end(process)


def head_rows(stand: Stand) -> int:
    return int(stand.desk.student.policy.head.linear.weight.shape[0])


@pytest.mark.parametrize("rendering", ["image", "text", "black", "privileged_image"])
def test_a_server_says_what_the_checkpoint_says_here(stand: Stand, rendering: str) -> None:
    here = stand.view(Source.of(stand.desk.student.policy, rendering))
    teacher = stand.teacher(head_rows(stand))
    there = stand.view(Source({}, rendering, None, {ONLY: teacher}))
    for request in (("logp",), ("top_k_logp", 3)):
        assert (there.known[request] - here.known[request]).abs().max() < CLOSE
    assert torch.equal(there.top_k(3)[0][..., 0], here.top_k(3)[0][..., 0])


def test_the_checks_pass_and_measure(stand: Stand) -> None:
    source = Source({}, "image", None, {ONLY: stand.teacher(head_rows(stand))})
    found = check_served(source, stand.desk.student.policy, stand.desk.prompts, 512)
    assert 0 < found["served_difference_max"] < CLOSE
    with pytest.raises(UserError, match=r"reads at most 512 tokens, and .* = 513; start it with"):
        check_served(source, stand.desk.student.policy, stand.desk.prompts, 513)


def test_nothing_in_a_request_takes_forbidden_ids_out_of_the_softmax(stand: Stand) -> None:
    """Else renormalizing here would be done twice."""
    vocabulary = stand.desk.student.policy.vocabulary
    allowed = [i for i in range(vocabulary.size) if i not in vocabulary.forbidden]

    def asked(**sampling: Any) -> Any:
        params = {"max_tokens": 1, "prompt_logprobs": 1, "detokenize": False, **sampling}
        body = {"token_ids": allowed[5:15], "sampling_params": params}
        reply = httpx.post(f"{stand.url}{GENERATE}", json=body, timeout=300, trust_env=False)
        return reply.json()["prompt_logprobs"][1:]

    plain = asked()
    bias = {str(i): -100.0 for i in vocabulary.forbidden}
    for told in ({"logit_bias": bias}, {"allowed_token_ids": allowed}):
        for a, b in zip(plain, asked(**told), strict=True):
            assert b.keys() == a.keys()
            for i in a:
                assert b[i]["logprob"] == pytest.approx(a[i]["logprob"], abs=1e-4)


def test_more_ids_than_the_server_may_name(stand: Stand) -> None:
    source = Source({}, "image", None, {ONLY: stand.teacher(NAMED + 1)})
    with pytest.raises(UserError, match=f"greater than max allowed: {NAMED}"):
        stand.view(source)


@pytest.mark.parametrize("stand", ["internvl"], indirect=True)
def test_a_run_learns_from_the_server_what_it_learns_from_the_checkpoint(
    stand: Stand,
    checkpoint: Checkpoint,
    run: Run,  # noqa: F811
) -> None:
    models = [
        f"model.pair.student={checkpoint('internvl', 0)}",
        f"model.pair.teacher={stand.folder}",
        "advantage=gndpo",
        "eval.k=0",
        "data.max_prompt_tokens=128",
    ]
    served = ["teacher=served", f"teacher.weights={stand.url}", "teacher.service.compare=pair"]
    likeliest = f"teacher.service.likeliest={head_rows(stand)}"
    here = run(*models, name="here")
    there = run(*models, *served, likeliest, name="there")
    assert there.code == 0, there.err
    assert there.status["served_difference_max"] < CLOSE
    for a, b in zip(numbers(here.rows()), numbers(there.rows()), strict=True):
        for name in a.keys() & b.keys():
            assert b[name] == pytest.approx(a[name], rel=0.02, abs=10 * CLOSE), name
