"""What a strategy reads: per-token scores of the answers under every view, in nats, exactly 0 at
padding.

A view is (weights, prompt rendering). Legend of the axes: B answers, T answer tokens
(right-padded), N valid tokens in row-major order, V vocabulary, H hidden size, K top-k.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from gndpo.rows import DenseHead, Rows, likeliest, scatter

VIEWS = ("student", "teacher", "student_text", "teacher_text")

Request = tuple[Any, ...]
"""A quantity of a view: ("logp",), ("entropy",), ("top_k_ids", k), ("top_k_logp", k),
("at_top_k", view, k), ("kl", view)."""


class View:
    """One view's scores. A quantity is computed on first reading, chunk by chunk, and kept; what
    was read is known."""

    def __init__(
        self,
        name: str,
        ids_BT: Tensor,
        mask_BT: Tensor,
        rows: Rows | None,
        known: Mapping[Request, Tensor] | None = None,
        others: Mapping[str, "View"] | None = None,
    ) -> None:
        self.name, self.ids_BT, self.mask_BT = name, ids_BT, mask_BT
        self.known: dict[Request, Tensor] = dict(known or {})
        self.others: Mapping[str, View] = {} if others is None else others
        self._rows = rows
        self.whole = False

    @property
    def rows(self) -> Rows:
        """The whole distributions; reading them keeps them in memory for the update."""
        self.whole = True
        if self._rows is None:
            raise KeyError(
                f"the {self.name} view's whole distribution was not asked for at start-up"
            )
        return self._rows

    @property
    def logp_BT(self) -> Tensor:
        """log pi(y_t), [B, T]."""
        return self.read(("logp",))

    @property
    def entropy_BT(self) -> Tensor:
        """-sum_v pi log pi, [B, T]."""
        return self.read(("entropy",))

    def top_k(self, k: int) -> tuple[Tensor, Tensor]:
        """The k likeliest ids and their log-probabilities, [B, T, K] each, not renormalized."""
        return self.read(("top_k_ids", k)), self.read(("top_k_logp", k))

    def at_top_k(self, other: str, k: int) -> Tensor:
        """This view's log-probabilities of another view's k likeliest ids, [B, T, K]."""
        return self.read(("at_top_k", other, k))

    def at(self, ids_BTK: Tensor) -> Tensor:
        """Log-probabilities of any ids, [B, T, K]; needs the whole distribution."""
        ids_NK = ids_BTK[self.mask_BT]
        rows = self.rows
        parts = [rows.log_probs(part).gather(-1, ids_NK[part]) for part in rows.chunks()]
        return scatter(torch.cat(parts), self.mask_BT)

    def kl(self, other: str) -> Tensor:
        """KL(this || other), [B, T], over the whole vocabulary."""
        return self.read(("kl", other))

    def read(self, request: Request) -> Tensor:
        if request not in self.known:
            if self._rows is None:
                raise KeyError(f"{request} of the {self.name} view was not asked for at start-up")
            parts = [self._compute(request, part) for part in self._rows.chunks()]
            self.known[request] = scatter(torch.cat(parts), self.mask_BT)
        return self.known[request]

    def _compute(self, request: Request, part: slice) -> Tensor:
        assert self._rows is not None
        logp_NV = self._rows.log_probs(part)
        match request:
            case ("logp",):
                return logp_NV.gather(-1, self.ids_BT[self.mask_BT][part, None])[:, 0]
            case ("entropy",):
                return -(logp_NV.exp() * logp_NV).sum(-1)
            case ("top_k_ids", k):
                return likeliest(logp_NV, k)[1]
            case ("top_k_logp", k):
                return likeliest(logp_NV, k)[0]
            case ("at_top_k", other, k):
                ids_NK = self.others[other].read(("top_k_ids", k))[self.mask_BT][part]
                return logp_NV.gather(-1, ids_NK)
            case ("kl", other):
                other_rows = self.others[other]._rows
                assert other_rows is not None
                return (logp_NV.exp() * (logp_NV - other_rows.log_probs(part))).sum(-1)
            case _:
                raise KeyError(request)


@dataclass(frozen=True)
class Scores:
    """All that a strategy may look at, for the whole rollout batch of a step.

    ids_BT, mask_BT: the answers' tokens and which of them are valid. author_BT: who wrote a
    token (rollout.STUDENT, ...). behaviour_logp_BT: under the policy that sampled. uniform_BT:
    draws in [0, 1) for gates, one per token and step. group_B: which prompt an answer belongs
    to. reward_B: task reward. step of steps: progress. carry: what the strategy handed back at
    the step before.
    """

    ids_BT: Tensor
    mask_BT: Tensor
    views: Mapping[str, View]
    author_BT: Tensor
    behaviour_logp_BT: Tensor
    uniform_BT: Tensor
    group_B: Tensor
    reward_B: Tensor
    step: int = 0
    steps: int = 1
    carry: Mapping[str, Tensor] = field(default_factory=dict)

    @cached_property
    def student(self) -> View:
        """The student before this step's updates (the old policy), image and prompt."""
        return self.views["student"]

    @cached_property
    def teacher(self) -> View:
        return self.views["teacher"]

    @cached_property
    def student_text(self) -> View:
        """The student without the image."""
        return self.views["student_text"]

    @cached_property
    def teacher_text(self) -> View:
        return self.views["teacher_text"]

    def pool(self, x_BT: Tensor) -> Tensor:
        """The valid values of the whole step, [N], in row order: what global means, deviations
        and quantiles are taken of."""
        return x_BT[self.mask_BT]

    @staticmethod
    def from_logits(
        student: Tensor,
        teacher: Tensor,
        ids: Tensor,
        mask: Tensor,
        student_text: Tensor | None = None,
        teacher_text: Tensor | None = None,
        uniform: Tensor | None = None,
        behaviour_logp: Tensor | None = None,
        author: Tensor | None = None,
        group: Tensor | Sequence[int] | None = None,
        reward: Tensor | None = None,
        step: int = 0,
        steps: int = 1,
        carry: Mapping[str, Tensor] | None = None,
    ) -> "Scores":
        """The same object from dense logits [B, T, V]: for tests, notebooks and other people's
        trainers."""
        mask = mask.bool()
        given = {
            "student": student,
            "teacher": teacher,
            "student_text": student_text,
            "teacher_text": teacher_text,
        }
        dense = {
            name: Rows(x.detach()[mask], DenseHead()) for name, x in given.items() if x is not None
        }
        views = make_views(ids, mask, dense)
        B = len(ids)
        zeros_BT = torch.zeros(mask.shape, dtype=student.dtype, device=student.device)
        group_B = torch.zeros(B, dtype=torch.long) if group is None else torch.as_tensor(group)
        return Scores(
            ids_BT=ids,
            mask_BT=mask,
            views=views,
            author_BT=torch.zeros_like(ids) if author is None else author,
            behaviour_logp_BT=views["student"].logp_BT
            if behaviour_logp is None
            else behaviour_logp,
            uniform_BT=seeded_draws(mask) if uniform is None else uniform,
            group_B=group_B,
            reward_B=zeros_BT.new_zeros(B) if reward is None else reward,
            step=step,
            steps=steps,
            carry=carry or {},
        )


def seeded_draws(mask_BT: Tensor) -> Tensor:
    """Gate draws for scores that come without: the same for every call."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand(mask_BT.shape, generator=generator).to(mask_BT.device)


def make_views(ids_BT: Tensor, mask_BT: Tensor, rows: Mapping[str, Rows]) -> dict[str, View]:
    """Views over whole distributions, each able to see the others (for KL and top-k supports)."""
    views: dict[str, View] = {}
    for name, whole in rows.items():
        views[name] = View(name, ids_BT, mask_BT, whole, others=views)
    return views
