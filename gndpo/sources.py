"""A view's ingredients: whose weights read which rendering of the prompt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from gndpo.data.rows import Row
from gndpo.data.templates import columns_of
from gndpo.engines.teacher import ServedTeacher
from gndpo.errors import UserError
from gndpo.pieces import Piece
from gndpo.policy import Policy
from gndpo.prompts import PRIVILEGED, Prompts
from gndpo.reading import PLAIN, Speed
from gndpo.rollout import Answers, gathered, generate
from gndpo.rows import Distributions, Patchwork, Rows

ONLY = ""
"""The key of a policy that reads every row."""


@dataclass(frozen=True)
class Source:
    """policies: one for every row, or one per value of the rows' `column`. rendering: how they
    read a prompt. servers: in place of policies."""

    policies: Mapping[str, Policy]
    rendering: str
    column: str | None = None
    servers: Mapping[str, ServedTeacher] = field(default_factory=dict)

    @staticmethod
    def of(policy: Policy, rendering: str = "image") -> "Source":
        return Source({ONLY: policy}, rendering)

    @property
    def policy(self) -> Policy:
        """The one policy; several have no common one."""
        self.check_local()
        if self.column is not None:
            raise UserError("rollout=blend needs one teacher for all rows; use teacher.column=null")
        return next(iter(self.policies.values()))

    def seeing(self, picture: str) -> "Source":
        """The same weights and context with another picture."""
        context = PRIVILEGED if self.rendering.startswith(PRIVILEGED) else ""
        return replace(self, rendering=context + picture)

    def parts(self, rows: Sequence[Row]) -> list[tuple[Policy, Tensor]]:
        """Every policy that is needed, with the positions of its rows."""
        if self.column is None:
            return [(self.policy, torch.arange(len(rows)))]
        self.check_local()
        wanted = [self.policies[self.choose(row)] for row in rows]
        return [
            (policy, torch.tensor([i for i, x in enumerate(wanted) if x is policy]))
            for policy in dict.fromkeys(wanted)
        ]

    def check_local(self) -> None:
        if self.servers:
            raise UserError(
                f"the teacher at {', '.join(x.url for x in self.servers.values())} is served: it "
                "scores tokens, and neither writes answers nor gives whole distributions here; use "
                "teacher=pair with its checkpoint"
            )

    def server(self, row: Row) -> ServedTeacher:
        return self.servers[ONLY if self.column is None else self.choose(row)]

    def choose(self, row: Row) -> str:
        columns = columns_of(row)
        known = [*self.policies, *self.servers]
        if self.column not in columns:
            raise UserError(
                f"teacher.column={self.column}: the data has no such column, it has "
                f"{', '.join(sorted(columns))}"
            )
        if columns[self.column] not in known:
            raise UserError(
                f"row {row['name']}: teacher.weights has nobody for "
                f"{self.column}={columns[self.column]}, only for {', '.join(known)}"
            )
        return columns[self.column]


def read(
    source: Source, prompts: Prompts, piece: Piece, answers: Answers, chunk: int | None
) -> Distributions:
    """What the source says at the valid tokens of a piece."""
    ids_bT, mask_bT = piece.cut(answers.ids_BT, answers.mask_BT)
    rendering = prompts.renderings[source.rendering].select(piece.prompts)
    if source.column is None:
        policy = source.policy
        return Rows(policy.hidden(rendering, ids_bT)[mask_bT], policy.head, chunk)
    parts, places = [], []
    order_bT = torch.zeros_like(mask_bT, dtype=torch.long)
    order_bT[mask_bT] = torch.arange(int(mask_bT.sum()), device=mask_bT.device)
    for policy, which in source.parts([prompts.rows[p] for p in piece.prompts.tolist()]):
        own = of_groups(which, len(piece.rows) // len(piece.prompts))
        hidden_nH = policy.hidden(rendering.select(which), ids_bT[own])[mask_bT[own]]
        parts.append(Rows(hidden_nH, policy.head, chunk))
        places.append(order_bT[own][mask_bT[own]])
    return Patchwork(tuple(parts), tuple(places), chunk)


def of_groups(which: Tensor, group: int) -> Tensor:
    """Positions of the answers to some prompts; the G answers of a prompt are adjacent."""
    return (which[:, None] * group + torch.arange(group)).flatten()


def write(
    source: Source,
    prompts: Prompts,
    *,
    group: int,
    max_tokens: int,
    uniform_BT: Tensor | None,
    micro: int | None = None,
    answers: int | None = None,
    speed: Speed = PLAIN,
) -> Answers:
    """The source's own answers, `group` per prompt; None is greedy. micro, answers, speed: as in
    `generate`."""
    rendering = prompts.renderings[source.rendering]
    parts = source.parts(prompts.rows)
    written, places = [], []
    for policy, which in parts:
        own = of_groups(which, group)
        part = generate(
            policy,
            rendering if len(parts) == 1 else rendering.select(which),
            group=group,
            max_tokens=max_tokens,
            uniform_BT=None if uniform_BT is None else uniform_BT[own],
            micro=micro,
            answers=answers,
            speed=speed,
        )
        written.append(part)
        places.append(own)
    if len(parts) == 1:
        return written[0]
    return gathered(written, places, pad=parts[0][0].vocabulary.pad)
