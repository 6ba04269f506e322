"""A served teacher: what comes back is what the same checkpoint says here, whatever the server's
softmax also covers; requests overlap, fail, repeat and give up."""

import logging
import math
import threading
from typing import Any

import pytest
import torch

from gndpo.engines.asking import FORBIDDEN, UNNAMED
from gndpo.engines.teacher import told
from gndpo.errors import UserError
from gndpo.models.vocabulary import Vocabulary
from gndpo.pieces import Portion
from gndpo.policy import Policy
from gndpo.prompts import Prompts
from gndpo.reads import Reads
from gndpo.rollout import Answers, generate
from gndpo.scoring import score
from gndpo.sources import ONLY, Source
from gndpo.views import View
from tests.stand_in import StandIn

K = 4
ASKED = frozenset({("logp",), ("top_k_ids", K), ("top_k_logp", K)})
WHOLE = Portion(None, None, None)


@pytest.fixture
def answers(policies: dict[str, Policy], prompts: Prompts) -> Answers:
    uniform_BT = torch.rand(6, 5, generator=torch.Generator().manual_seed(0))
    student = policies["student"]
    return generate(
        student, prompts.renderings["image"], group=2, max_tokens=5, uniform_BT=uniform_BT
    )


def seen(source: Source, prompts: Prompts, answers: Answers, portion: Portion = WHOLE) -> View:
    reads = Reads({"teacher": ASKED}, frozenset(), frozenset())
    return score({"teacher": source}, prompts, answers, reads, portion)["teacher"]


def behind(*servers: Any, rendering: str = "image", column: str | None = None) -> Source:
    names = [ONLY] if column is None else ["even", "odd"]
    return Source({}, rendering, column, dict(zip(names, servers, strict=True)))


def test_forbidden_ids_among_the_likeliest_are_taken_out() -> None:
    """Of 1 the server gives 1/4 to id 9, beyond our ids, 1/8 to the forbidden id 2."""
    vocabulary = Vocabulary(size=8, eos=(1,), pad=0, forbidden=(0, 2))
    p = {3: 0.5, 9: 0.25, 2: 0.125, 5: 0.0625}
    by_token = [{str(i): {"logprob": math.log(x)} for i, x in p.items()}]
    said = told(by_token, [5], 3, vocabulary)
    assert said.logp_T.tolist() == pytest.approx([math.log(0.0625 / 0.625)])
    assert said.ids_TK[0, : said.allowed_T[0]].tolist() == [3]
    assert said.top_TK[0, 0].item() == pytest.approx(math.log(0.5 / 0.625))
    assert said.forbidden_T.tolist() == [0.375]
    assert said.unnamed_T.tolist() == [0.125]


@pytest.mark.parametrize(
    "rendering", ["image", "text", "black", "degraded", "privileged_image", "privileged_text"]
)
def test_a_server_that_names_all_ids_says_what_the_teacher_says_here(
    served: Any,
    policies: dict[str, Policy],
    prompts: Prompts,
    answers: Answers,
    rendering: str,
) -> None:
    here = seen(Source.of(policies["teacher"], rendering), prompts, answers)
    there = seen(behind(served(), rendering=rendering), prompts, answers)
    for request in ASKED:
        torch.testing.assert_close(there.known[request], here.known[request], atol=1e-5, rtol=0)
    assert there.logp_BT[~answers.mask_BT].abs().sum() == 0
    assert there.known[FORBIDDEN][answers.mask_BT].min() > 0
    assert there.known[UNNAMED].max() < 1e-6


def test_ids_that_the_server_does_not_name_bound_the_difference(
    served: Any, policies: dict[str, Policy], prompts: Prompts, answers: Answers
) -> None:
    here = seen(Source.of(policies["teacher"]), prompts, answers)
    there = seen(behind(served(likeliest=20)), prompts, answers)
    missing_BT = here.logp_BT - there.logp_BT
    bound_BT = -torch.log1p(-there.known[UNNAMED] / (1 - there.known[FORBIDDEN]))
    assert missing_BT.max() > 1e-3
    assert missing_BT.min() > -1e-5
    assert (missing_BT < bound_BT + 1e-5).all()


def test_pieces_and_teachers_by_row_change_nothing(
    served: Any, policies: dict[str, Policy], prompts: Prompts, answers: Answers
) -> None:
    whole = seen(behind(served()), prompts, answers)
    two = behind(served(), served(), column="kind")
    parts = seen(two, prompts, answers, Portion(1, 1, None))
    for request in ASKED:
        assert torch.equal(parts.known[request], whole.known[request])
    with pytest.raises(UserError, match=r"row row 1: teacher.weights has nobody for kind=odd"):
        seen(Source({}, "image", "kind", {"even": served()}), prompts, answers)


def test_requests_are_in_flight_together_and_while_the_student_is_read(
    server: StandIn, served: Any, policies: dict[str, Policy], prompts: Prompts, answers: Answers
) -> None:
    """The server answers nobody before three have asked and the student has been read."""
    together, read = threading.Barrier(3), threading.Event()
    server.gate = lambda: (together.wait(timeout=10), read.wait(timeout=10))
    student = policies["student"]
    hook = student.backbone.register_forward_hook(lambda *_: read.set())
    views = {"student": Source.of(student), "teacher": behind(served(inflight=3))}
    reads = Reads(dict.fromkeys(views, ASKED), frozenset(), frozenset())
    try:
        found = score(views, prompts, answers, reads, WHOLE)
    finally:
        hook.remove()
    assert not together.broken
    assert found.keys() == {"student", "teacher"}


def test_what_fails_is_asked_again_with_one_line(
    server: StandIn,
    served: Any,
    prompts: Prompts,
    answers: Answers,
    caplog: pytest.LogCaptureFixture,
) -> None:
    expected = seen(behind(served()), prompts, answers)
    server.statuses = [503, 500, 429]
    with caplog.at_level(logging.WARNING, "gndpo"):
        found = seen(behind(served()), prompts, answers)
    assert torch.equal(found.logp_BT, expected.logp_BT)
    assert len(server.asked) == 6 + 6 + 3
    (line,) = [x for x in caplog.messages if "does not answer" in x]
    assert line.endswith("not now): trying again, up to 3 times")


def test_a_server_that_stays_away_is_one_sentence(
    server: StandIn, served: Any, prompts: Prompts, answers: Answers
) -> None:
    server.left = 3
    teacher = served()
    with pytest.raises(UserError, match=r"does not answer, asked 4 times \(Server disconnected"):
        seen(behind(teacher), prompts, answers)
    asked = len(server.asked)
    with pytest.raises(UserError, match="asked 4 times"):  # the others do not wait again
        teacher.call("GET", "/v1/models")
    assert len(server.asked) == asked


def test_what_a_server_refuses_is_not_asked_again(
    server: StandIn, served: Any, prompts: Prompts, answers: Answers
) -> None:
    server.statuses = [400] * 6
    with pytest.raises(UserError, match=r"refuses /inference/v1/generate \(HTTP 400: not now\)"):
        seen(behind(served()), prompts, answers)
    assert len(server.asked) <= 6


def test_a_server_that_reads_other_ids_is_refused(
    server: StandIn, served: Any, prompts: Prompts, answers: Answers, monkeypatch: Any
) -> None:
    monkeypatch.setattr(server.processor.own, "start_image_token_id", 5)
    with pytest.raises(UserError, match="its image processor or its tokenizer is another one"):
        seen(behind(served()), prompts, answers)


def test_too_few_of_the_likeliest_may_be_written(
    served: Any, prompts: Prompts, answers: Answers
) -> None:
    with pytest.raises(
        UserError, match=r"the\s+advantage reads 4: raise teacher.service.likeliest"
    ):
        seen(behind(served(likeliest=4)), prompts, answers)


def test_the_key_of_the_environment_goes_along(
    server: StandIn, served: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLLM_API_KEY", "secret")
    body = {"prompt": "1", "add_special_tokens": False}
    served().call("POST", "/tokenize", body)
    assert server.headers[-1]["authorization"] == "Bearer secret"


def test_a_served_teacher_neither_writes_nor_gives_whole_distributions(
    served: Any, prompts: Prompts, answers: Answers
) -> None:
    source = behind(served())
    with pytest.raises(UserError, match="is served: it scores tokens"):
        source.parts(prompts.rows)
    reads = Reads({"teacher": ASKED}, frozenset({"teacher"}), frozenset())
    with pytest.raises(UserError, match="is served: it scores tokens"):
        score({"teacher": source}, prompts, answers, reads, WHOLE)
    reads = Reads({"teacher": frozenset({("entropy",)})}, frozenset(), frozenset())
    with pytest.raises(UserError, match="does not tell 'entropy'"):
        score({"teacher": source}, prompts, answers, reads, WHOLE)
