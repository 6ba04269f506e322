"""Checks of a served teacher on the first rows, before the first step; and, where its checkpoint is
here too, how far the server's numbers are from ours."""

import logging
import math
from collections.abc import Mapping, Sequence

import torch

from gndpo.engines.asking import ask
from gndpo.engines.teacher import Said, ServedTeacher
from gndpo.errors import UserError
from gndpo.policy import Policy
from gndpo.prompts import Prompts, Renderings
from gndpo.reads import Reads
from gndpo.rollout import Answers, generate
from gndpo.sources import Source
from gndpo.startup import GREEDY, LOST
from gndpo.views import Request

log = logging.getLogger(__name__)

TOLD = ("logp", "top_k_ids", "top_k_logp")
"""Quantities of a view that a server tells."""


def check_reads(reads: Reads, views: Mapping[str, Source], strategy: str) -> None:
    """A strategy that reads more of a served view than a server tells is refused."""
    for name, requests in reads.requests.items():
        for request in sorted(requests, key=str):
            check_request(name, request, views, strategy)
        if name in reads.whole and views[name].servers:
            refuse(strategy, name, "whole distribution")


def check_request(name: str, request: Request, views: Mapping[str, Source], strategy: str) -> None:
    other = views[request[1]].servers if request[0] == "kl" else {}
    if other:
        refuse(strategy, request[1], "whole distribution")
    if not views[name].servers:
        return
    if request[0] not in TOLD:
        refuse(strategy, name, request[0])
    for server in views[name].servers.values():
        if request[0] == "top_k_ids" and request[1] > server.service.likeliest:
            raise UserError(
                f"advantage={strategy} reads the {request[1]} likeliest ids of the {name} view, "
                f"teacher.service.likeliest={server.service.likeliest}; raise it, with room for "
                "ids that may not be written, and the server's --max-logprobs"
            )


def refuse(strategy: str, view: str, quantity: str) -> None:
    raise UserError(
        f"advantage={strategy} reads '{quantity}' of the {view} view, and a served teacher tells "
        "only the log-probabilities of sampled tokens and of its own likeliest ids; use such an "
        "advantage, for example gndpo or trust_region (docs/served_teacher.md lists them), or "
        "teacher=pair"
    )


@torch.no_grad()
def check_served(
    teacher: Source, student: Policy, prompts: Prompts, longest: int
) -> dict[str, float]:
    """Every server is there, has room for `longest` tokens, reads our ids, knows something and
    sees. Returns what `compare` found."""
    for server in teacher.servers.values():
        check_model(server, longest)
        check_tokens(server, prompts)
    if not teacher.servers:
        return {}
    rendering = prompts.renderings["image"]
    answers = generate(student, rendering, group=1, max_tokens=GREEDY, uniform_BT=None)
    said = said_of(teacher, prompts, answers)
    check_knowledge(said, student)
    check_sight(teacher, prompts, answers, said)
    servers = [teacher.server(row) for row in prompts.rows]
    return compared(servers[0], teacher, prompts, answers, said)


def said_of(teacher: Source, prompts: Prompts, answers: Answers) -> list[Said]:
    reads = Reads({"teacher": frozenset()}, frozenset(), frozenset())
    (futures,) = ask({"teacher": teacher}, reads, prompts, answers).values()
    return [future.result() for future in futures]


def check_model(server: ServedTeacher, longest: int) -> None:
    model = server.call("GET", "/v1/models")["data"][0]
    limit = model.get("max_model_len")
    if limit is not None and limit < longest:
        raise UserError(
            f"the teacher at {server.url} ({model['id']}) reads at most {limit} tokens, and "
            f"data.max_prompt_tokens + rollout.max_tokens + 1 = {longest}; start it with "
            f"--max-model-len {longest}, or lower these"
        )
    log.info("the teacher at %s is %s, for at most %s tokens", server.url, model["id"], limit)


def check_tokens(server: ServedTeacher, prompts: Prompts) -> None:
    """The server's tokenizer gives the ids that ours gives, for a prompt and every added token."""
    renderings = prompts.renderings
    assert isinstance(renderings, Renderings)
    tokenizer = renderings.processor.tokenizer
    probe = renderings.asked("text")[0] + "".join(sorted(tokenizer.get_added_vocab()))
    ours = tokenizer(probe, add_special_tokens=False)["input_ids"]
    body = {"prompt": probe, "add_special_tokens": False}
    theirs = server.call("POST", "/tokenize", body)["tokens"]
    if ours != theirs:
        pairs = zip([*ours, None], [*theirs, None], strict=False)
        mine, other = next(pair for pair in pairs if pair[0] != pair[1])
        shown = "nothing" if mine is None else f"id {mine}, {tokenizer.decode([mine])!r}"
        raise UserError(
            f"the teacher at {server.url} has another tokenizer: where the student reads {shown}, "
            f"it reads id {other}; on-policy distillation needs one tokenizer for both"
        )


def check_knowledge(said: Sequence[Said], student: Policy) -> None:
    """Its likeliest ids are likely, far from -ln V, and its numbers are log-probabilities."""
    best_N = torch.cat([part.top_TK[:, 0] for part in said])
    unnamed_N = torch.cat([part.unnamed_T for part in said])
    uniform = -math.log(student.vocabulary.size - len(student.vocabulary.forbidden))
    if not float(unnamed_N.min()) > -0.01:
        raise UserError(
            "the served teacher's log-probabilities do not sum to 1; start it with --logprobs-mode "
            "raw_logprobs"
        )
    if not float(best_N.mean()) > LOST * uniform:  # NaN is lost, too
        raise UserError(
            f"the served teacher gives its likeliest token {float(best_N.mean()):.2f} nats, where "
            f"knowing nothing is {uniform:.2f}: its weights are lost or were never trained; check "
            "the checkpoint"
        )


def check_sight(teacher: Source, prompts: Prompts, answers: Answers, said: Sequence[Said]) -> None:
    """A black image in place of the row's changes what the teacher expects."""
    if not any(prompts.renderings[teacher.rendering].images):
        return
    dark = said_of(teacher.seeing("black"), prompts, answers)
    if all(torch.equal(a.top_TK, b.top_TK) for a, b in zip(said, dark, strict=True)):
        raise UserError(
            "the served teacher says the same about a black image as about the row's: it does not "
            "see; check its checkpoint and its chat template"
        )


def compared(
    server: ServedTeacher,
    teacher: Source,
    prompts: Prompts,
    answers: Answers,
    said: Sequence[Said],
) -> dict[str, float]:
    """How far the server's log-probabilities of the student's tokens are from those of the same
    checkpoint here, nats; {} where teacher.service.compare names none."""
    if server.reference is None:
        return {}
    policy = server.reference().to(answers.ids_BT.device)
    policy.write_only(server.vocabulary)
    rendering = prompts.renderings[teacher.rendering]
    hidden_NH = policy.hidden(rendering, answers.ids_BT)[answers.mask_BT]
    own_N = policy.head.log_probs(hidden_NH).gather(-1, answers.ids_BT[answers.mask_BT][:, None])
    d_N = torch.cat([part.logp_T for part in said]) - own_N[:, 0].float().cpu()
    mass = float(torch.cat([part.forbidden_T for part in said]).mean())
    found = {"mean": float(d_N.abs().mean()), "max": float(d_N.abs().max()), "forbidden": mass}
    log.info(
        "the served teacher is %.1e nats from %s on average, %.1e at most, over %d tokens; %.1e of "
        "its mass was on ids that may not be written",
        found["mean"],
        server.service.compare,
        found["max"],
        len(d_N),
        mass,
    )
    return {f"served_difference_{name}": x for name, x in found.items()}
