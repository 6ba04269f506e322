"""Answers are written token by token: drawn from counter-based uniforms, or copied from a script
that another author wrote."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from gndpo.drawing import blend, drawn
from gndpo.pieces import pieces
from gndpo.policy import Policy
from gndpo.prompts import Rendering
from gndpo.reading import PLAIN, Reader, Speed
from gndpo.rows import wide
from gndpo.scores import STUDENT


@dataclass(frozen=True)
class Answers:
    """B answers, right-padded to T. ids_BT ends with its EOS, which counts; truncated_B: no EOS
    within the limit. logp_BT: log-probability, in nats, under the policy that sampled (the
    behaviour policy), 0 at padding. author_BT: who wrote a token (scores.STUDENT, ...).
    hidden_BTH, own_BT: where asked for, the policy's hidden states that predict each token, and its
    own log-probability of it, whoever wrote it."""

    ids_BT: Tensor
    length_B: Tensor
    logp_BT: Tensor
    truncated_B: Tensor
    author_BT: Tensor
    hidden_BTH: Tensor | None = None
    own_BT: Tensor | None = None

    @property
    def mask_BT(self) -> Tensor:
        T = self.ids_BT.shape[1]
        return torch.arange(T, device=self.ids_BT.device) < self.length_B[:, None]

    def repeat(self, group: int) -> "Answers":
        """Every answer `group` times, side by side."""
        return self.map(lambda x: x.repeat_interleave(group, 0))

    def map(self, change: Callable[[Tensor], Tensor]) -> "Answers":
        """Every tensor changed alike."""
        return Answers(**{name: change(x) for name, x in self.tensors.items()})

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Those that are there, by name."""
        return {name: x for name, x in vars(self).items() if x is not None}


@dataclass(frozen=True)
class Script:
    """How answers begin: the first length_B tokens of ids_BT, their log-probabilities under the
    policy that sampled them, and who wrote them."""

    ids_BT: Tensor
    length_B: Tensor
    logp_BT: Tensor
    author_BT: Tensor

    def select(self, rows: Tensor) -> "Script":
        return Script(**{name: x[rows] for name, x in vars(self).items()})

    def common(self, limit: int) -> Tensor:
        """The tokens that it gives every answer, [B, s], s <= limit."""
        return self.ids_BT[:, : min(limit, int(self.length_B.min()))]


@dataclass(frozen=True)
class Guide:
    """A second policy that is blended in: at every token as much as keeps KL(blend || policy)
    within `budget` nats (trust-region behaviour blending, arXiv 2605.31159)."""

    policy: Policy
    rendering: Rendering
    budget: float


def generate(
    policy: Policy,
    rendering: Rendering,
    *,
    group: int,
    max_tokens: int,
    uniform_BT: Tensor | None,
    script: Script | None = None,
    guide: Guide | None = None,
    micro: int | None = None,
    answers: int | None = None,
    keep_hidden: bool = False,
    speed: Speed = PLAIN,
) -> Answers:
    """Answer each prompt `group` times; T is the length of the longest answer. `uniform_BT` [B,
    max_tokens] draws the tokens; None is greedy. micro, answers: prompts, or answers of one
    prompt, at a time (None: all); what is written is the same, at any speed. keep_hidden: with the
    hidden states that predict the tokens."""
    parts, places = [], []
    for piece in pieces(0, len(rendering.ids_PL), group, micro, answers):
        rows = piece.rows
        part = decode(
            policy,
            rendering.select(piece.prompts),
            group=len(rows) // len(piece.prompts),
            max_tokens=max_tokens,
            uniform_BT=None if uniform_BT is None else uniform_BT[rows],
            script=script and script.select(rows),
            guide=guide and replace(guide, rendering=guide.rendering.select(piece.prompts)),
            keep_hidden=keep_hidden,
            speed=speed,
        )
        parts.append(part)
        places.append(rows)
    return parts[0] if len(parts) == 1 else gathered(parts, places, policy.vocabulary.pad)


def gathered(parts: Sequence[Answers], places: Sequence[Tensor], pad: int) -> Answers:
    """Answers of several batches in one, each batch with its rows there."""
    B, T = sum(map(len, places)), max(part.ids_BT.shape[1] for part in parts)
    whole = {
        name: x.new_full((B, T, *x.shape[2:])[: x.dim()], pad if name == "ids_BT" else 0)
        for name, x in parts[0].tensors.items()
    }
    for part, own in zip(parts, places, strict=True):
        there = own, slice(part.ids_BT.shape[1])
        for name, x in part.tensors.items():
            whole[name][there[: x.dim()]] = x
    return Answers(**whole)


@torch.no_grad()
def decode(
    policy: Policy,
    rendering: Rendering,
    *,
    group: int,
    max_tokens: int,
    uniform_BT: Tensor | None,
    script: Script | None,
    guide: Guide | None,
    keep_hidden: bool,
    speed: Speed,
) -> Answers:
    """One batch: the prompts are read, then everything is written token by token."""
    ahead = max_tokens - 1 if speed.ahead else 0
    given_Bs = script.common(ahead) if script else rendering.ids_PL[:, :0]
    read = partial(Reader.of, group=group, max_tokens=max_tokens, given_Bs=given_Bs, speed=speed)
    readers = [read(policy, rendering), *([read(guide.policy, guide.rendering)] if guide else [])]
    answers = blank(readers[0].known_BsH[:, 0], max_tokens, policy.vocabulary.pad, keep_hidden)
    eos = torch.tensor(policy.vocabulary.eos, device=answers.ids_BT.device)
    fill(answers, readers, uniform_BT, script, guide, eos, speed.compact)
    return finished(answers, eos, policy.vocabulary.pad)


@torch.inference_mode()
def fill(
    answers: Answers,
    readers: Sequence[Reader],
    uniform_BT: Tensor | None,
    script: Script | None,
    guide: Guide | None,
    eos: Tensor,
    compact: float | None,
) -> None:
    """Token by token, until all have ended. rows_b: the answers that are still in the batch."""
    rows_b = id_b = torch.arange(len(answers.ids_BT), device=eos.device)
    alive_b = torch.ones_like(rows_b, dtype=torch.bool)
    for t in range(answers.ids_BT.shape[1]):
        hidden = [reader.hidden(id_b, t) for reader in readers]
        own_bV = logp_bV = readers[0].policy.head.log_probs(hidden[0])
        if guide:
            logp_bV = blend(own_bV, guide.policy.head.log_probs(hidden[1]), guide.budget)
        own = drawn(logp_bV, None if uniform_BT is None else uniform_BT[rows_b, t])
        token = (*own, torch.full_like(rows_b, STUDENT))
        if script:
            token = scripted(script, rows_b, t, *token)
        put(answers, rows_b, t, *token, hidden[0], own_bV)
        id_b = token[0]
        alive_b = alive_b & ~torch.isin(id_b, eos)
        living = int(alive_b.sum())
        if not living:
            return
        if compact is not None and living <= compact * len(rows_b):
            readers = [reader.select(alive_b) for reader in readers]
            rows_b, id_b, alive_b = (x[alive_b] for x in (rows_b, id_b, alive_b))


def blank(hidden_BH: Tensor, T: int, pad: int, keep_hidden: bool) -> Answers:
    """B answers of which nothing is written yet."""
    B, H = hidden_BH.shape
    ids_BT = torch.full((B, T), pad, device=hidden_BH.device)
    zeros_BT = torch.zeros_like(ids_BT)
    length_B, logp_BT = zeros_BT.sum(1), zeros_BT.to(wide(hidden_BH.dtype))
    own = (hidden_BH.new_zeros(B, T, H), logp_BT.clone()) if keep_hidden else (None, None)
    return Answers(ids_BT, length_B, logp_BT, length_B > 0, zeros_BT, *own)


def put(
    answers: Answers,
    rows_b: Tensor,
    t: int,
    id_b: Tensor,
    logp_b: Tensor,
    author_b: Tensor,
    hidden_bH: Tensor,
    own_bV: Tensor,
) -> None:
    """Token t of some answers into its place."""
    answers.ids_BT[rows_b, t] = id_b
    answers.logp_BT[rows_b, t] = logp_b
    answers.author_BT[rows_b, t] = author_b
    if answers.hidden_BTH is not None and answers.own_BT is not None:
        answers.hidden_BTH[rows_b, t] = hidden_bH
        answers.own_BT[rows_b, t] = own_bV.gather(-1, id_b[:, None])[:, 0]


def finished(answers: Answers, eos: Tensor, pad: int) -> Answers:
    """The answers up to their first EOS, padded behind it."""
    ended_BT = torch.isin(answers.ids_BT, eos)
    truncated_B = ~ended_BT.any(1)
    length_B = (ended_BT.int().argmax(1) + 1).masked_fill(truncated_B, ended_BT.shape[1])
    T = int(length_B.max())
    padding_BT = torch.arange(T, device=eos.device) >= length_B[:, None]
    hidden_BTH, own_BT = answers.hidden_BTH, answers.own_BT
    if hidden_BTH is not None and own_BT is not None:
        hidden_BTH = hidden_BTH[:, :T].masked_fill(padding_BT[..., None], 0.0)
        own_BT = own_BT[:, :T].masked_fill(padding_BT, 0.0)
    ids_BT, logp_BT, author_BT = (
        x[:, :T].masked_fill(padding_BT, filler)
        for x, filler in ((answers.ids_BT, pad), (answers.logp_BT, 0.0), (answers.author_BT, 0))
    )
    return Answers(ids_BT, length_B, logp_BT, truncated_B, author_BT, hidden_BTH, own_BT)


def scripted(
    script: Script, rows_b: Tensor, t: int, id_b: Tensor, logp_b: Tensor, author_b: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The script's token, its log-probability and its author where the script is not over yet."""
    if t >= script.ids_BT.shape[1]:
        return id_b, logp_b, author_b
    given_b = t < script.length_B[rows_b]
    return (
        script.ids_BT[rows_b, t].where(given_b, id_b),
        script.logp_BT[rows_b, t].to(logp_b.dtype).where(given_b, logp_b),
        script.author_BT[rows_b, t].where(given_b, author_b),
    )
