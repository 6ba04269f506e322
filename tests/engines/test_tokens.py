"""What a server is asked, the policy's own distribution, and its replies: answers or a sentence."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from gndpo.engines.asking import questions
from gndpo.engines.tokens import NEVER, answers_of, requests
from gndpo.errors import UserError
from gndpo.models.processor import Processor
from gndpo.policy import Policy
from gndpo.prompts import Prompts, Rendering
from gndpo.scores import STUDENT
from gndpo.sources import Source
from gndpo.writers import Desk

EOS, PAD = 1, 2
REPLY: dict[str, Any] = {  # of vLLM 0.32, without what is not read; two answers, the second first
    "choices": [
        {
            "index": 1,
            "finish_reason": "length",
            "weight_versions": [{"version": "7", "start": 0, "end": 3}],
            "token_ids": [21, 25, 24],
            "logprobs": {
                "content": [
                    {"token_id": 21, "logprob": -2.19077467918396, "rank": 1, "top_logprobs": []},
                    {"token_id": 25, "logprob": -2.8610291481018066, "rank": 1, "top_logprobs": []},
                    {"token_id": 24, "logprob": -2.048125743865967, "rank": 2, "top_logprobs": []},
                ]
            },
        },
        {
            "index": 0,
            "finish_reason": "stop",
            "stop_reason": EOS,
            "weight_versions": [{"version": "7", "start": 0, "end": 2}],
            "token_ids": [9, EOS],
            "logprobs": {
                "content": [
                    {"token_id": 9, "logprob": -0.5, "rank": 1, "top_logprobs": []},
                    {"token_id": EOS, "logprob": -1.5, "rank": 2, "top_logprobs": []},
                ]
            },
        },
    ],
}


@pytest.fixture
def desk(student: Policy, renderings: dict[str, Rendering]) -> Desk:
    """The three prompts' words, step 7, two answers of at most three tokens."""

    def draws(stream: str, rows: Sequence[int], columns: int) -> Tensor:
        return torch.tensor([[row / 8] * columns for row in rows])

    texts = {"image": renderings["text"]}
    source = Source.of(student)
    return Desk(
        Prompts([{}] * 3, [""] * 3, texts),  # type: ignore[list-item]
        source,
        source,
        Processor(None),
        group=2,
        max_tokens=3,
        place_P=[0, 4, 2],
        draws=draws,
        step=7,
        steps=9,
    )


def replies_to(desk: Desk, **changes: Any) -> list[dict[str, Any]]:
    told = questions(desk.prompts, "image")
    return [{**REPLY, "prompt_token_ids": question.ids, **changes} for question in told]


def test_every_prompt_has_its_ids_and_its_seed(desk: Desk) -> None:
    told = questions(desk.prompts, "image")
    bodies = requests(desk, told)
    assert [body["sampling_params"]["seed"] for body in bodies] == [0, 2**30, 2**29]
    assert [body["token_ids"] for body in bodies] == [question.sent for question in told]
    assert not any("content_parts" in body for body in bodies)  # they show no image


def test_images_go_along(desk: Desk) -> None:
    told = replace(questions(desk.prompts, "image")[0], images=["data:image/png;base64,AA=="])
    (body,) = requests(replace(desk, place_P=[0]), [told])
    assert body["content_parts"] == [{"type": "image_url", "url": "data:image/png;base64,AA=="}]


def test_tokens_are_drawn_from_the_policys_own_distribution(desk: Desk) -> None:
    """Ids 0..41 are the tokenizer's, the head has 48; 2, 40 and 41 are forbidden."""
    warm = Policy(desk.student.policy.model, desk.student.policy.vocabulary, temperature=0.7)
    desk = replace(desk, student=Source.of(warm))
    sampling = requests(desk, questions(desk.prompts, "image"))[0]["sampling_params"]
    assert sampling["temperature"] == 0.7
    assert (sampling["top_p"], sampling["top_k"], sampling["n"]) == (1.0, -1, 2)
    assert (sampling["stop_token_ids"], sampling["ignore_eos"]) == ([EOS, 3], True)
    assert {int(i) for i in sampling["logit_bias"]} == {2, 40, 41, *range(42, 48)}
    assert set(sampling["logit_bias"].values()) == {NEVER}


def test_replies_become_answers_in_order(desk: Desk) -> None:
    answers = answers_of(replies_to(desk), questions(desk.prompts, "image"), desk)
    assert answers.ids_BT[:2].tolist() == [[9, EOS, PAD], [21, 25, 24]]
    assert answers.length_B.tolist() == [2, 3] * 3
    assert answers.truncated_B.tolist() == [False, True] * 3
    expected = [[-0.5, -1.5, 0.0], [-2.19077467918396, -2.8610291481018066, -2.048125743865967]]
    assert answers.logp_BT[:2].tolist() == expected
    assert (answers.author_BT == STUDENT).all()


def test_another_prompt_than_ours_is_refused(desk: Desk) -> None:
    with pytest.raises(UserError, match="reads 2 tokens where the student reads 3, or others"):
        answers_of(
            replies_to(desk, prompt_token_ids=[5, 6]), questions(desk.prompts, "image"), desk
        )


def test_other_weights_than_this_steps_are_refused(desk: Desk) -> None:
    later = replace(desk, step=8)
    with pytest.raises(UserError, match="an answer of step 8 with the weights of 7"):
        answers_of(replies_to(later), questions(desk.prompts, "image"), later)
