"""A teacher behind a vLLM server: the log-probabilities that it gives to tokens, over HTTP."""

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx
import torch
from torch import Tensor

from gndpo.errors import UserError
from gndpo.models.vocabulary import Vocabulary
from gndpo.policy import Policy

log = logging.getLogger(__name__)

GENERATE = "/inference/v1/generate"
"""Takes token ids and says what it read, in ids; open in `vllm serve --enable-scale-out`."""
BUSY = 429
"""HTTP: too many requests; like 500 and above, worth another try."""


@dataclass(frozen=True)
class Service:
    """How a server is asked. inflight: requests at a time. likeliest: ids named per token. retries
    of a request that fails, the first after `pause` seconds, every further one after twice as long.
    timeout: of one request, seconds. compare: the same checkpoint here, beside which the server's
    numbers are held at start (null: not)."""

    inflight: int
    likeliest: int
    retries: int
    pause: float
    timeout: float
    compare: str | None


@dataclass(frozen=True)
class Question:
    """A prompt. ids: as it is read here. sent: the same with one placeholder for each image, where
    the server puts the image's own. images: as data URLs."""

    ids: list[int]
    sent: list[int]
    images: list[str]


@dataclass(frozen=True)
class Said:
    """What a teacher says of the T tokens of an answer, renormalized over the allowed ids: the
    tokens' log-probabilities; its likeliest ids with theirs, [T, K], of which the first allowed_T
    count; the mass that it gave to forbidden ones among these K, and to all ids but these."""

    logp_T: Tensor
    ids_TK: Tensor
    top_TK: Tensor
    allowed_T: Tensor
    forbidden_T: Tensor
    unnamed_T: Tensor


class ServedTeacher:
    """One vLLM server. It knows the teacher's weights, and we the ids that may be written.
    reference: loads the same checkpoint here."""

    def __init__(
        self,
        url: str,
        service: Service,
        vocabulary: Vocabulary,
        reference: Callable[[], Policy] | None = None,
    ) -> None:
        self.url, self.service, self.vocabulary = url.rstrip("/"), service, vocabulary
        self.reference = reference
        key = os.environ.get("VLLM_API_KEY")
        self.client = httpx.Client(
            base_url=self.url,
            timeout=service.timeout,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            limits=httpx.Limits(max_connections=service.inflight),
        )
        self.workers = ThreadPoolExecutor(service.inflight)
        self.unwarned = threading.Lock()
        self.lost: UserError | None = None

    def begin(self) -> None:
        """A new step may warn once more."""
        self.unwarned = threading.Lock()

    def submit(self, question: Question, answer: list[int]) -> Future[Said]:
        """`score`, as soon as fewer than `inflight` others are on their way."""
        return self.workers.submit(self.score, question, answer)

    def score(self, question: Question, answer: list[int]) -> Said:
        """The answer's tokens behind the prompt. max_tokens: a server writes one token at least."""
        body = {
            "token_ids": [*question.sent, *answer],
            "sampling_params": {
                "max_tokens": 1,
                "prompt_logprobs": self.service.likeliest,
                "detokenize": False,
            },
            "return_token_ids": True,
        }
        if question.images:
            body["content_parts"] = [{"type": "image_url", "url": x} for x in question.images]
        found = self.call("POST", GENERATE, body)
        if found["prompt_token_ids"] != [*question.ids, *answer]:
            raise UserError(
                f"the teacher at {self.url} reads {len(found['prompt_token_ids'])} tokens where "
                f"student and data have {len(question.ids) + len(answer)}, or others: its image "
                "processor or its tokenizer is another one; serve a checkpoint of the same family "
                "and with the same image settings"
            )
        by_token = found["prompt_logprobs"][-len(answer) :]
        return told(by_token, answer, self.service.likeliest, self.vocabulary)

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The server's answer. What may pass is tried again; what it refuses is not."""
        pauses = [self.service.pause * 2**i for i in range(self.service.retries)]
        for pause in [*pauses, None]:
            if self.lost is not None:
                raise self.lost
            try:
                reply = self.client.request(method, path, json=body)
            except httpx.TransportError as error:
                problem = str(error) or type(error).__name__
            else:
                if reply.is_success:
                    return reply.json()
                problem = f"HTTP {reply.status_code}: {message_of(reply)}"
                if reply.status_code < 500 and reply.status_code != BUSY:
                    raise UserError(f"the teacher at {self.url} refuses {path} ({problem})")
            if pause is not None:
                self.wait(pause, problem)
        self.lost = UserError(
            f"the teacher at {self.url} does not answer, asked {len(pauses) + 1} times "
            f"({problem}); start it with vllm serve <checkpoint> --enable-scale-out, correct "
            "teacher.weights, or raise teacher.service.timeout or retries; ckpt=last continues the "
            "run"
        )
        raise self.lost

    def wait(self, pause: float, problem: str) -> None:
        """Before the next try; one line per step says that there are such."""
        if self.unwarned.acquire(blocking=False):
            log.warning(
                "the teacher at %s does not answer (%s): trying again, up to %d times",
                self.url,
                problem,
                self.service.retries,
            )
        time.sleep(pause)


def message_of(reply: httpx.Response) -> str:
    """The reason that a server gives, on one line."""
    try:
        found = reply.json()
    except ValueError:
        return " ".join(reply.text.split())[:200]
    error = found.get("error", found) if isinstance(found, dict) else found
    return str(error.get("message", error) if isinstance(error, dict) else error)


def told(
    by_token: Sequence[Mapping[str, Any]], answer: list[int], K: int, vocabulary: Vocabulary
) -> Said:
    """From vLLM's `prompt_logprobs`, per token {id: {logprob: nats}} with the K likeliest ids and
    the token itself: normalized over all ids that the server has, here over the allowed ones as far
    as the forbidden are among the K: log p - log(1 - mass). What forbidden ids beyond these have, u
    at most, would add less than -log(1 - u / (1 - mass))."""
    best = [
        sorted(((-x["logprob"], int(i)) for i, x in ids.items()))[: min(K, len(ids))]
        for ids in by_token
    ]
    own = [ids[str(i)]["logprob"] for ids, i in zip(by_token, answer, strict=True)]
    ids_TK = torch.tensor([[i for _, i in row] for row in best]).long()
    top_TK = -torch.tensor([[x for x, _ in row] for row in best], dtype=torch.double)
    never_TK = torch.isin(ids_TK, torch.tensor(vocabulary.forbidden).long())
    never_TK |= ids_TK >= vocabulary.size
    mass_T = top_TK.exp().masked_fill(~never_TK, 0).sum(-1)
    shift_T = torch.log1p(-mass_T.clamp(max=1 - 1e-7))
    order_TK = never_TK.long().argsort(dim=-1, stable=True)  # forbidden ones last
    return Said(
        logp_T=(torch.tensor(own, dtype=torch.double) - shift_T).float(),
        ids_TK=ids_TK.gather(-1, order_TK),
        top_TK=(top_TK.gather(-1, order_TK) - shift_T[:, None]).float(),
        allowed_T=(~never_TK).sum(-1),
        forbidden_T=mass_T.float(),
        unnamed_T=(1 - top_TK.exp().sum(-1)).float(),
    )
