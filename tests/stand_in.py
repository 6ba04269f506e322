"""A small server that answers as vLLM's token endpoint does, from a checkpoint and plain
transformers: a softmax over every row of the head, images put in at their placeholders."""

import base64
import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from gndpo.models.load import load_model, load_processor


class StandIn(ThreadingHTTPServer):
    """statuses: what the next requests get in place of numbers. left: requests that are still
    answered; None: all. gate: passed before each answer. asked, headers: of all requests."""

    daemon_threads = True

    def __init__(self, checkpoint: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.processor, self.model = load_processor(checkpoint), load_model(checkpoint)
        self.lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        self.limit, self.blind, self.scale = 4096, False, 1.0
        self.statuses: list[int] = []
        self.left: int | None = None
        self.gate: Any = None
        self.asked: list[dict[str, Any]] = []
        self.headers: list[Message] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def vocabulary(self) -> int:
        """Rows of the head: a server that names so many ids names all."""
        return int(self.model.get_output_embeddings().weight.shape[0])

    def models(self) -> dict[str, Any]:
        return {"data": [{"id": "teacher", "max_model_len": self.limit}]}

    def tokenize(self, body: dict[str, Any]) -> dict[str, Any]:
        special = body["add_special_tokens"]
        ids = self.processor.tokenizer(body["prompt"], add_special_tokens=special)["input_ids"]
        return {"tokens": ids}

    @torch.no_grad()
    def generate(self, body: dict[str, Any]) -> dict[str, Any]:
        own, ids, seen = self.processor.own, list(body["token_ids"]), {}
        if parts := body.get("content_parts"):
            seen = own.image_processor([opened(x["url"]) for x in parts], return_tensors="pt")
            seen = {name: x * (not self.blind) for name, x in seen.items()}
            inside = [own.image_token_id] * own.image_seq_length
            framed = [own.start_image_token_id, *inside, own.end_image_token_id]
            ids = [x for i in ids for x in (framed if i == own.image_token_id else [i])]
        logits_LV = self.model(input_ids=torch.tensor([ids]), **seen).logits[0] * self.scale
        k = body["sampling_params"]["prompt_logprobs"]
        rows = zip(logits_LV[:-1].log_softmax(-1), ids[1:], strict=True)
        return {
            "prompt_token_ids": ids,
            "prompt_logprobs": [None, *(named(logp_V, i, k) for logp_V, i in rows)],
        }


def opened(url: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))


def named(logp_V: torch.Tensor, own: int, k: int) -> dict[str, Any]:
    """The k likeliest ids and the prompt's own."""
    top_K, ids_K = logp_V.topk(k)
    found = dict(zip(ids_K.tolist(), top_K.tolist(), strict=True)) | {own: float(logp_V[own])}
    return {str(i): {"logprob": x, "rank": None} for i, x in found.items()}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: StandIn

    def do_GET(self) -> None:
        self.reply(200, self.server.models())

    def do_POST(self) -> None:
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            server.asked.append(body)
            server.headers.append(self.headers)
            status = server.statuses.pop(0) if server.statuses else 200
            server.left = server.left and server.left - 1
            gone = server.left == 0
        if gone:
            self.close_connection = True  # without a word
            return
        if server.gate is not None:
            server.gate()
        if status != 200:
            self.reply(status, {"error": {"message": "not now"}})
        else:
            self.reply(200, (server.tokenize if "prompt" in body else server.generate)(body))

    def reply(self, status: int, found: dict[str, Any]) -> None:
        text = json.dumps(found).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        """Nothing into the tests' output."""


@contextmanager
def serving(checkpoint: Path) -> Iterator[StandIn]:
    """The server, from here until the end of the block."""
    server = StandIn(checkpoint)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
