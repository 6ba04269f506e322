"""Answers written by a vLLM server, which gets the student's weights before every rollout."""

import json
import logging
import os
import shlex
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
from torch import Tensor

from gndpo import ranks
from gndpo.engines import server, weights
from gndpo.engines.asking import questions
from gndpo.engines.teacher import GENERATE, message_of
from gndpo.engines.tokens import answers_of, requests
from gndpo.errors import UserError
from gndpo.export import files_of
from gndpo.rollout import Answers
from gndpo.writers import Desk

log = logging.getLogger(__name__)

INFLIGHT = 256
"""Requests at a time; the server decides how many it works on."""
MODULE = "vllm.entrypoints.openai.api_server"
ENVIRONMENT = {"VLLM_SERVER_DEV_MODE": "1", "VLLM_NO_USAGE_STATS": "1"}
"""Opens the server's calls that change weights and empty caches; it reports to nobody."""
LOGPROBS = "processed_logprobs"
"""Log-probabilities of the distribution that tokens are drawn from."""


class Lost(Exception):
    """A server that does not answer, or answers that it broke."""


class Vllm:
    """The writer of rollout=vllm.

    url: of a server that runs; None: one is started with `python`, ended with the run and, once per
    rollout, started again if it is lost. folder: for weights, which the server reads too.
    arguments: of the server, as typed. start_s, answer_s: seconds until it is ready, and until it
    answers.

    Weights go through a folder and vLLM's own reload (`reload_weights`, on every worker), on CPUs
    and GPUs alike: its faster ways, NCCL and CUDA IPC, need a GPU on both sides. Afterwards nothing
    that was computed with the old ones is left: prefixes and images are forgotten.
    """

    def __init__(
        self,
        *,
        url: str | None,
        python: str | None,
        folder: str | None,
        arguments: str,
        start_s: float,
        answer_s: float,
    ) -> None:
        if url is None and python is None:
            raise UserError(
                "rollout.writer.python=null: vLLM lives in an environment of its own; name its "
                "interpreter (or set GNDPO_VLLM_PYTHON), or a running server with "
                "rollout.writer.url"
            )
        self.url, self.python, self.shared = url, python, folder
        self.arguments, self.start_s = shlex.split(arguments), start_s
        key = os.environ.get("VLLM_API_KEY")
        self.client = httpx.Client(
            timeout=answer_s,
            trust_env=False,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            limits=httpx.Limits(max_connections=INFLIGHT),
        )
        self.process: server.Process | None = None
        self.step: int | None = None
        self.address = ""

    def open(self, folder: Path) -> None:
        self.log = folder.absolute() / "server.log"
        self.weights = Path(self.shared or folder / "weights").expanduser().absolute()

    def close(self) -> None:
        if self.process is not None:
            server.end(self.process)
        self.process, self.step = None, None

    def __call__(self, desk: Desk) -> Answers:
        try:
            return self.written(desk)
        except Lost as error:
            if self.url is not None or ranks.size() > 1:
                raise UserError(
                    f"the vLLM server at {self.address} is lost ({error}); start it again, and "
                    "continue with ckpt=last"
                ) from error
            log.warning("the vLLM server is lost (%s): starting another one", error)
        self.close()
        try:
            return self.written(desk)
        except Lost as error:
            raise UserError(
                f"the vLLM server was lost twice in step {desk.step} ({error}); see {self.log}, "
                "and continue with ckpt=last"
            ) from error

    def written(self, desk: Desk) -> Answers:
        if self.step != desk.step:
            of_shards = weights.put_together(desk.student.policy.model)
            self.address = ranks.from_first(lambda: self.updated(desk, of_shards))
            self.step = desk.step
        told = questions(desk.prompts, desk.student.rendering)
        with ThreadPoolExecutor(min(len(told), INFLIGHT)) as pool:
            replies = list(pool.map(lambda body: self.post(GENERATE, body), requests(desk, told)))
        return answers_of(replies, told, desk)

    def updated(self, desk: Desk, of_shards: Mapping[str, Tensor]) -> str:
        """The address of a server that has this step's weights."""
        model = desk.student.policy.model
        weights.write(model, files_of(str(model.name_or_path)), self.weights, of_shards)
        if self.url is None and self.process is None:
            self.start(desk)
        else:
            self.address = self.url or self.address
            self.reload()
        self.post("/update_weight_version", {"new_version": str(desk.step)})
        return self.address

    def start(self, desk: Desk) -> None:
        port = server.free_port()
        self.address = f"http://127.0.0.1:{port}"
        where = ["--host", "127.0.0.1", "--port", str(port), *self.flags(desk)]
        command = [str(self.python), "-m", MODULE, *where, *self.arguments]
        self.process = server.start(command, self.log, ENVIRONMENT)
        server.await_health(self.process, self.address, self.log, self.start_s)

    def flags(self, desk: Desk) -> list[str]:
        """generation-config: whatever the checkpoint says of sampling does not count."""
        images = json.dumps(dict(desk.processor.image_arguments))
        dtype = str(desk.student.policy.model.dtype).removeprefix("torch.")
        return [
            *("--model", str(self.weights), "--dtype", dtype, "--enable-prefix-caching"),
            *("--logprobs-mode", LOGPROBS, "--generation-config", "vllm", "--enable-scale-out"),
            *(["--mm-processor-kwargs", images] if images != "{}" else []),
        ]

    def reload(self) -> None:
        told = {"method": "reload_weights", "kwargs": {"weights_path": str(self.weights)}}
        self.post("/collective_rpc", told)
        self.post("/reset_encoder_cache")
        if not self.post("/reset_prefix_cache")["success"]:
            raise UserError(
                f"the vLLM server at {self.address} did not forget the prefixes that it read with "
                "the old weights: requests of others go on; give every run a server of its own"
            )

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        try:
            reply = self.client.post(f"{self.address}{path}", json=body)
        except httpx.TransportError as error:
            raise Lost(str(error) or type(error).__name__) from error
        if reply.status_code >= 500:
            raise Lost(f"{path}: HTTP {reply.status_code}: {message_of(reply)}")
        if not reply.is_success:
            raise UserError(
                f"the vLLM server at {self.address} refuses {path} (HTTP {reply.status_code}: "
                f"{message_of(reply)}); a server of yours needs VLLM_SERVER_DEV_MODE=1, "
                f"--enable-scale-out and --logprobs-mode {LOGPROBS}"
            )
        return reply.json() if reply.content else {}
