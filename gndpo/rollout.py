"""Answers are written token by token: drawn by inverse CDF from counter-based uniforms, or copied
from a script that another author wrote."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gndpo.pieces import pieces
from gndpo.policy import Policy
from gndpo.prompts import Rendering
from gndpo.scores import STUDENT


@dataclass(frozen=True)
class Answers:
    """B answers, right-padded to T. ids_BT ends with its EOS, which counts; truncated_B: no EOS
    within the limit. logp_BT: log-probability, in nats, under the policy that sampled (the
    behaviour policy), 0 at padding. author_BT: who wrote a token (scores.STUDENT, ...)."""

    ids_BT: Tensor
    length_B: Tensor
    logp_BT: Tensor
    truncated_B: Tensor
    author_BT: Tensor

    @property
    def mask_BT(self) -> Tensor:
        T = self.ids_BT.shape[1]
        return torch.arange(T, device=self.ids_BT.device) < self.length_B[:, None]

    def repeat(self, group: int) -> "Answers":
        """Every answer `group` times, side by side."""
        return Answers(**{name: x.repeat_interleave(group, 0) for name, x in vars(self).items()})


@dataclass(frozen=True)
class Script:
    """How answers begin: the first length_B tokens of ids_BT, their log-probabilities under the
    policy that sampled them, and who wrote them."""

    ids_BT: Tensor
    length_B: Tensor
    logp_BT: Tensor
    author_BT: Tensor

    def select(self, rows: slice) -> "Script":
        return Script(**{name: x[rows] for name, x in vars(self).items()})


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
) -> Answers:
    """Answer each prompt `group` times. `uniform_BT` [B, max_tokens] draws the tokens; None is
    greedy. micro, answers: prompts, or answers of one prompt, at a time (None: all); what is
    written is the same.

    Stops early when every answer has ended, so T is the length of the longest one.
    """
    parts, places = [], []
    for piece in pieces(0, len(rendering.ids_PL), group, micro, answers):
        rows = piece.rows
        part = decode(
            policy,
            rendering.select(piece.prompts),
            group=(rows.stop - rows.start) // (piece.stop - piece.start),
            max_tokens=max_tokens,
            uniform_BT=None if uniform_BT is None else uniform_BT[rows],
            script=script and script.select(rows),
            guide=guide and replace(guide, rendering=guide.rendering.select(piece.prompts)),
        )
        parts.append(part)
        places.append(torch.arange(rows.start, rows.stop))
    return parts[0] if len(parts) == 1 else gathered(parts, places, policy.vocabulary.pad)


def gathered(parts: Sequence[Answers], places: Sequence[Tensor], pad: int) -> Answers:
    """Answers of several batches in one, each batch with its rows there."""
    B = sum(map(len, places))
    T = max(part.ids_BT.shape[1] for part in parts)
    ids_BT = torch.full((B, T), pad, device=parts[0].ids_BT.device)
    logp_BT = parts[0].logp_BT.new_zeros(B, T)
    author_BT = torch.zeros_like(ids_BT)
    length_B, truncated_B = torch.zeros_like(ids_BT[:, 0]), torch.zeros_like(ids_BT[:, 0]).bool()
    for part, own in zip(parts, places, strict=True):
        t = part.ids_BT.shape[1]
        ids_BT[own, :t], logp_BT[own, :t] = part.ids_BT, part.logp_BT
        author_BT[own, :t] = part.author_BT
        length_B[own], truncated_B[own] = part.length_B, part.truncated_B
    return Answers(ids_BT, length_B, logp_BT, truncated_B, author_BT)


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
) -> Answers:
    """One batch, token by token."""
    readers = [(policy, rendering), *([(guide.policy, guide.rendering)] if guide else [])]
    prefixes = [reader.encode(prompts).repeat(group) for reader, prompts in readers]
    hidden = [prefix.last_BH for prefix in prefixes]
    eos = torch.tensor(policy.vocabulary.eos, device=hidden[0].device)
    alive_B = torch.ones(len(hidden[0]), dtype=torch.bool, device=hidden[0].device)
    length_B = torch.zeros_like(alive_B, dtype=torch.long)
    blank = (policy.vocabulary.pad, 0.0, STUDENT)
    written: list[list[Tensor]] = []
    for t in range(max_tokens):
        logp_BV = policy.head.log_probs(hidden[0])
        if guide:
            logp_BV = blend(logp_BV, guide.policy.head.log_probs(hidden[1]), guide.budget)
        id_B = logp_BV.argmax(-1) if uniform_BT is None else inverse_cdf(logp_BV, uniform_BT[:, t])
        logp_B = logp_BV.gather(-1, id_B[:, None])[:, 0]
        token = (id_B, logp_B, torch.full_like(id_B, STUDENT))
        if script:
            token = scripted(script, t, *token)
        written.append([x.masked_fill(~alive_B, y) for x, y in zip(token, blank, strict=True)])
        length_B += alive_B
        alive_B = alive_B & ~torch.isin(token[0], eos)
        if not alive_B.any() or t + 1 == max_tokens:
            break
        hidden = [
            reader.advance(prefix, written[-1][0][:, None], written=t)[:, 0]
            for (reader, _), prefix in zip(readers, prefixes, strict=True)
        ]
    ids_BT, logp_BT, author_BT = (torch.stack(x, 1) for x in zip(*written, strict=True))
    return Answers(ids_BT, length_B, logp_BT, alive_B, author_BT)


def scripted(
    script: Script, t: int, id_B: Tensor, logp_B: Tensor, author_B: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The script's token, its log-probability and its author where the script is not over yet."""
    if t >= script.ids_BT.shape[1]:
        return id_B, logp_B, author_B
    given_B = t < script.length_B
    return (
        script.ids_BT[:, t].where(given_B, id_B),
        script.logp_BT[:, t].to(logp_B.dtype).where(given_B, logp_B),
        script.author_BT[:, t].where(given_B, author_B),
    )


def blend(logp_BV: Tensor, guide_BV: Tensor, budget: float, halvings: int = 30) -> Tensor:
    """log mu, mu proportional to p^(1-beta) q^beta with the largest beta in [0, 1] for which
    KL(mu || p) <= budget, nats; by bisection, since that KL grows with beta."""
    low_B1 = torch.zeros_like(logp_BV[:, :1])
    high_B1 = torch.ones_like(low_B1)
    fits_B1 = divergence_of(blended(logp_BV, guide_BV, high_B1), logp_BV) <= budget
    for _ in range(halvings):
        middle_B1 = (low_B1 + high_B1) / 2
        small_B1 = divergence_of(blended(logp_BV, guide_BV, middle_B1), logp_BV) <= budget
        low_B1 = middle_B1.where(small_B1, low_B1)
        high_B1 = high_B1.where(small_B1, middle_B1)
    return blended(logp_BV, guide_BV, torch.ones_like(low_B1).where(fits_B1, low_B1))


def blended(logp_BV: Tensor, guide_BV: Tensor, beta_B1: Tensor) -> Tensor:
    return torch.lerp(logp_BV, guide_BV, beta_B1).log_softmax(-1)


def divergence_of(logm_BV: Tensor, logp_BV: Tensor) -> Tensor:
    """KL(mu || p), nats, [B, 1]."""
    return (logm_BV.exp() * (logm_BV - logp_BV)).sum(-1, keepdim=True)


def inverse_cdf(logp_BV: Tensor, uniform_B: Tensor) -> Tensor:
    """The first id whose cumulative probability exceeds u. An id of probability 0 is never drawn.
    Where weights have overflowed and all is NaN, the last id: the update's guard drops that step.
    """
    cdf_BV = logp_BV.double().exp().cumsum(-1)
    u_B1 = uniform_B.double().clamp(max=1 - 2**-40)[:, None] * cdf_BV[:, -1:]
    return torch.searchsorted(cdf_BV, u_B1, right=True)[:, 0].clamp_max(logp_BV.shape[-1] - 1)
