"""What a served teacher is asked of a step's answers, all at once, and what comes back."""

import base64
import io
from collections.abc import Mapping, Sequence
from concurrent.futures import Future

import torch
from PIL import Image
from torch import Tensor

from gndpo.engines.teacher import Question, Said
from gndpo.errors import UserError
from gndpo.pieces import Piece
from gndpo.prompts import PRIVILEGED, Prompts, Rendering, Renderings, drawn
from gndpo.reads import Reads
from gndpo.rollout import Answers
from gndpo.rows import scatter
from gndpo.sources import Source
from gndpo.views import Request, View

FORBIDDEN: Request = ("forbidden",)
UNNAMED: Request = ("unnamed",)
"""The mass that the server gave to forbidden ids among its likeliest, and to all others but these,
[B, T]."""

Asked = Mapping[str, Sequence[Future[Said]]]
"""By view, what is on its way of each of the B answers."""


def ask(
    views: Mapping[str, Source], reads: Reads, prompts: Prompts, answers: Answers
) -> dict[str, list[Future[Said]]]:
    """Send every answer to the servers of the views that have some."""
    for name in reads.whole:
        views[name].check_local()
    group = len(answers.ids_BT) // len(prompts)
    ids = [
        row[:n] for row, n in zip(answers.ids_BT.tolist(), answers.length_B.tolist(), strict=True)
    ]
    asked = {}
    for name in reads.requests:
        source = views[name]
        for server in source.servers.values():
            server.begin()
        if source.servers:
            told = questions(prompts, source.rendering)
            servers = [source.server(row) for row in prompts.rows]
            asked[name] = [
                servers[i // group].submit(told[i // group], answer) for i, answer in enumerate(ids)
            ]
    return asked


def questions(prompts: Prompts, name: str) -> list[Question]:
    """The prompts in one rendering."""
    whole = prompts.renderings[name]
    return [
        Question(own, *(pictured(prompts, name, i) if whole.images[i] else (own, [])))
        for i, own in enumerate(unpadded(whole))
    ]


def unpadded(rendering: Rendering) -> list[list[int]]:
    rows = zip(rendering.ids_PL.tolist(), rendering.length_P.tolist(), strict=True)
    return [row[len(row) - n :] for row, n in rows]


def pictured(prompts: Prompts, name: str, i: int) -> tuple[list[int], list[str]]:
    """A prompt whose placeholders are not yet repeated, and its images as the rendering shows
    them."""
    renderings = prompts.renderings
    assert isinstance(renderings, Renderings)
    picture = name.removeprefix(PRIVILEGED)
    text = renderings.asked(name)[i]
    (alone,) = renderings.processor.encode_alike([text], [[]])
    shown = [drawn(x, picture, renderings.degrade) for x in prompts.rows[i]["images"]]
    return alone["input_ids"][0].tolist(), [data_url(x) for x in shown]


def data_url(image: Image.Image) -> str:
    """Without loss."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def answered(
    asked: Asked, piece: Piece, ids_bT: Tensor, mask_bT: Tensor, reads: Reads
) -> dict[str, View]:
    """The served views at a piece's answers, as soon as all have come back."""
    views = {}
    for name, said in asked.items():
        parts = [said[i].result() for i in piece.rows.tolist()]
        known = {
            request: scatter(at(parts, request).to(mask_bT.device), mask_bT)
            for request in (*reads.requests[name], FORBIDDEN, UNNAMED)
        }
        views[name] = View(name, ids_bT, mask_bT, None, known)
    return views


def at(parts: Sequence[Said], request: Request) -> Tensor:
    """A quantity at the N tokens of some answers."""
    match request:
        case ("logp",):
            return torch.cat([part.logp_T for part in parts])
        case ("top_k_ids", k):
            check_allowed(parts, k)
            return torch.cat([part.ids_TK[:, :k] for part in parts])
        case ("top_k_logp", k):
            return torch.cat([part.top_TK[:, :k] for part in parts])
        case ("forbidden",):
            return torch.cat([part.forbidden_T for part in parts])
        case ("unnamed",):
            return torch.cat([part.unnamed_T for part in parts]).clamp(min=0)
        case _:
            raise UserError(f"a served teacher does not tell '{request[0]}'; use teacher=pair")


def check_allowed(parts: Sequence[Said], k: int) -> None:
    least = min(int(part.allowed_T.min()) for part in parts)
    if least < k:
        raise UserError(
            f"the served teacher's likeliest ids have only {least} that may be written, and the "
            f"advantage reads {k}: raise teacher.service.likeliest, and the server's --max-logprobs"
        )
