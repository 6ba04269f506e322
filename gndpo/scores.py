"""What a strategy reads: the answers of a whole step, scored under every view, and all that goes
with them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from gndpo import ranks
from gndpo.rows import DenseHead, Rows
from gndpo.views import VIEWS, View, make_views

STUDENT, TEACHER, DATA = 0, 1, 2
AUTHORS = ("student", "teacher", "data")
"""Who wrote a token (`author_BT`). A blend of student and teacher counts as the student."""


@dataclass(frozen=True)
class Scores:
    """All that a strategy may look at, for the whole rollout batch of a step.

    ids_BT, mask_BT: the answers' tokens and which of them are valid. author_BT: who wrote a
    token (STUDENT, ...). behaviour_logp_BT: under the policy that sampled. uniform_BT:
    draws in [0, 1) for gates, one per token and step. group_B: which prompt an answer belongs
    to. reward_B: task reward. step of steps: progress. carry: what the strategy handed back at
    the step before. eos: the ids that end an answer. row_B: where an answer stands in the whole
    step, of which other ranks may have a part; -1: nowhere, it counts for nothing. None: all
    answers are here.
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
    eos: tuple[int, ...] = ()
    row_B: Tensor | None = None

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

    @cached_property
    def teacher_degraded(self) -> View:
        """The teacher with a coarse image."""
        return self.views["teacher_degraded"]

    @cached_property
    def teacher_black(self) -> View:
        """The teacher with a black image."""
        return self.views["teacher_black"]

    @cached_property
    def own_BT(self) -> Tensor:
        """Valid tokens that the student wrote, bool: the log-ratio of a token estimates a gradient
        only where the student sampled it."""
        return self.mask_BT & (self.author_BT == STUDENT)

    def pool(self, x_BT: Tensor, of_BT: Tensor | None = None) -> Tensor:
        """The values of the whole step, those of other ranks too, at the valid tokens or at
        `of_BT` (bool), [N], in row order: what global means, deviations and quantiles are of."""
        of_BT = self.mask_BT if of_BT is None else of_BT
        if self.row_B is None or ranks.size() == 1:
            return x_BT[of_BT]
        of_BT = of_BT & (self.row_B >= 0)[:, None]
        return ranks.pooled(x_BT[of_BT], self.row_B[:, None].expand_as(of_BT)[of_BT])

    def own(self, x_BT: Tensor) -> Tensor:
        """The values at this rank's valid tokens, [N], in row order."""
        return x_BT[self.mask_BT]

    @staticmethod
    def from_logits(
        student: Tensor,
        teacher: Tensor,
        ids: Tensor,
        mask: Tensor,
        uniform: Tensor | None = None,
        behaviour_logp: Tensor | None = None,
        author: Tensor | None = None,
        group: Tensor | Sequence[int] | None = None,
        reward: Tensor | None = None,
        step: int = 0,
        steps: int = 1,
        carry: Mapping[str, Tensor] | None = None,
        eos: tuple[int, ...] = (),
        **others: Tensor,
    ) -> "Scores":
        """The same object from dense logits [B, T, V]: for tests, notebooks and other people's
        trainers. others: logits of further views, by their name."""
        mask = mask.bool()
        given = {"student": student, "teacher": teacher, **others}
        if unknown := given.keys() - set(VIEWS):
            raise TypeError(f"{', '.join(unknown)}: no such view; there are {', '.join(VIEWS)}")
        dense = {name: Rows(x.detach()[mask], DenseHead()) for name, x in given.items()}
        views = make_views(ids, mask, dense)
        old_BT = views["student"].logp_BT
        group_B = torch.zeros(len(ids), dtype=torch.long) if group is None else group
        return Scores(
            ids_BT=ids,
            mask_BT=mask,
            views=views,
            author_BT=torch.zeros_like(ids) if author is None else author,
            behaviour_logp_BT=old_BT if behaviour_logp is None else behaviour_logp,
            uniform_BT=seeded_draws(mask) if uniform is None else uniform,
            group_B=torch.as_tensor(group_B),
            reward_B=student.new_zeros(len(ids)) if reward is None else reward,
            step=step,
            steps=steps,
            carry=carry or {},
            eos=eos,
        )


def seeded_draws(mask_BT: Tensor) -> Tensor:
    """Gate draws for scores that come without: the same for every call."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand(mask_BT.shape, generator=generator).to(mask_BT.device)
