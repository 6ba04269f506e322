"""What a vLLM server is asked of a step's prompts, and its replies as answers."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from gndpo.engines.teacher import Question
from gndpo.errors import UserError
from gndpo.policy import Policy
from gndpo.rollout import Answers
from gndpo.rows import wide
from gndpo.writers import Desk

NEVER = -1e30
"""Added to the logits of forbidden ids: their probability is exactly 0."""
SEEDS = 2**31
"""How many seeds there are to draw from."""


def requests(desk: Desk, told: Sequence[Question]) -> list[dict[str, Any]]:
    """One per prompt. Its seed depends on (seed, step, place of the prompt) alone; the server gives
    the G answers seed, seed + 1, ..."""
    sampling = sampling_of(desk.student.policy, desk.group, desk.max_tokens)
    seeds = (desk.draws("server", desk.place_P, 1)[:, 0] * SEEDS).long().tolist()
    return [
        request(question, {**sampling, "seed": seed})
        for question, seed in zip(told, seeds, strict=True)
    ]


def request(question: Question, sampling: Mapping[str, Any]) -> dict[str, Any]:
    """Ids in, ids out; images as they are, to be put in at their placeholders."""
    body = {"token_ids": question.sent, "sampling_params": sampling, "return_token_ids": True}
    if question.images:
        body["content_parts"] = [{"type": "image_url", "url": x} for x in question.images]
    return body


def sampling_of(policy: Policy, group: int, max_tokens: int) -> dict[str, Any]:
    """The policy's own distribution: its temperature, its ends of an answer and no others, nothing
    forbidden, nothing truncated. logprobs 0: of the written token."""
    vocabulary = policy.vocabulary
    beyond = range(vocabulary.size, policy.head.linear.weight.shape[0])
    return {
        "n": group,
        "max_tokens": max_tokens,
        "temperature": policy.head.temperature,
        "top_p": 1.0,
        "top_k": -1,
        "logprobs": 0,
        "stop_token_ids": [*vocabulary.eos],
        "ignore_eos": True,
        "detokenize": False,
        "logit_bias": {str(i): NEVER for i in (*vocabulary.forbidden, *beyond)},
    }


def answers_of(
    replies: Sequence[Mapping[str, Any]], told: Sequence[Question], desk: Desk
) -> Answers:
    """The replies' ids, and their log-probabilities under the distribution that they were drawn
    from. A reply to another prompt, or by other weights than this step's, is refused."""
    policy = desk.student.policy
    ids: list[Tensor] = []
    logp: list[Tensor] = []
    for reply, question in zip(replies, told, strict=True):
        check_prompt(reply, question)
        for choice in sorted(reply["choices"], key=lambda x: int(x["index"])):
            check_weights(choice, str(desk.step))
            written = choice["logprobs"]["content"]
            ids.append(torch.tensor([x["token_id"] for x in written]))
            logp.append(torch.tensor([x["logprob"] for x in written], dtype=torch.double))
    eos = torch.tensor(policy.vocabulary.eos)
    ids_BT = pad_sequence(ids, batch_first=True, padding_value=policy.vocabulary.pad)
    logp_BT = pad_sequence(logp, batch_first=True).to(wide(policy.model.dtype))
    length_B = torch.tensor([len(row) for row in ids])
    truncated_B = ~torch.isin(torch.stack([row[-1] for row in ids]), eos)
    answers = Answers(ids_BT, length_B, logp_BT, truncated_B, torch.zeros_like(ids_BT))
    device = desk.prompts.renderings[desk.student.rendering].ids_PL.device
    return answers.map(lambda x: x.to(device))


def check_prompt(reply: Mapping[str, Any], question: Question) -> None:
    read = reply["prompt_token_ids"]
    if read != question.ids:
        raise UserError(
            f"the vLLM server reads {len(read)} tokens where the student reads "
            f"{len(question.ids)}, or others: its image processor cuts images differently; give "
            "it the student's settings with rollout.writer.arguments.mm-processor-kwargs"
        )


def check_weights(choice: Mapping[str, Any], step: str) -> None:
    versions = [span["version"] for span in choice["weight_versions"] or ()]
    if versions != [step]:
        raise UserError(
            f"the vLLM server wrote an answer of step {step} with the weights of "
            f"{', '.join(versions) or 'an unnamed step'}: someone else updates it too; give every "
            "run a server of its own"
        )
