"""Who teaches: the pair's checkpoint, another one, or the student itself: as it was, averaged, or
without its adapter. One for all rows, or one per row."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from gndpo.engines.teacher import ServedTeacher
from gndpo.errors import UserError
from gndpo.policy import Policy
from gndpo.prompts import PRIVILEGED
from gndpo.sources import ONLY, Source

Follow = Callable[[Policy, Policy, int], None]
"""(copy of the student, student, steps done): how the copy follows after a step."""


@torch.no_grad()
def ema(teacher: Policy, student: Policy, step: int, *, rate: float) -> None:
    """theta_T <- theta_T + rate (theta_S - theta_T), after every step."""
    if not 0 < rate <= 1:
        raise UserError(f"teacher.follow.rate={rate} must be in (0, 1]")
    if teacher.model.dtype.itemsize < 4:
        raise UserError(
            f"teacher.follow=ema in {teacher.model.dtype}: its small steps would be rounded away; "
            "use model.dtype=float32, or teacher=periodic"
        )
    for ours, theirs in zip(teacher.parameters(), student.parameters(), strict=True):
        ours.lerp_(theirs.to(ours.dtype), rate)


@torch.no_grad()
def periodic(teacher: Policy, student: Policy, step: int, *, every: int) -> None:
    """theta_T <- theta_S, every `every` steps."""
    if every < 1:
        raise UserError(f"teacher.follow.every={every} must be 1 or larger")
    if step % every == 0:
        for ours, theirs in zip(teacher.parameters(), student.parameters(), strict=True):
            ours.copy_(theirs)


class AdapterOff(Policy):
    """The student with its adapter switched off: a teacher that needs no memory of its own."""

    def read(self, **inputs: Any) -> Any:
        self.model.disable_adapters()
        try:
            return super().read(**inputs)
        finally:
            self.model.enable_adapters()


class Teachers(nn.Module):
    """Teachers by the value of a row's `column` (ONLY: for every row), the one of them that is a
    copy of the student (twin), and the context that only the teachers' prompts have. servers: in
    place of teachers here."""

    def __init__(
        self,
        of: Mapping[str, Policy],
        *,
        column: str | None = None,
        twin: Policy | None = None,
        follow: Follow | None = None,
        context: str | None = None,
        degrade: float = 0.1,
        servers: Mapping[str, ServedTeacher] | None = None,
    ) -> None:
        super().__init__()
        self.of, self.column, self.twin = dict(of), column, twin
        self.follow, self.context, self.degrade = follow, context, degrade
        self.policies = nn.ModuleList(dict.fromkeys(of.values()))
        self.servers = servers or {}

    @property
    def source(self) -> Source:
        """How the teachers read a prompt."""
        rendering = "image" if self.context is None else f"{PRIVILEGED}image"
        return Source(self.of, rendering, self.column, self.servers)

    def update(self, student: Policy, step: int) -> None:
        if self.twin is not None and self.follow is not None:
            self.follow(self.twin, student, step)

    @property
    def fixed(self) -> bool:
        """Whether no teacher changes while the student learns."""
        off = any(isinstance(policy, AdapterOff) for policy in self.of.values())
        return self.moving is None and not off

    @property
    def moving(self) -> nn.Module | None:
        """The copy whose weights a checkpoint has to keep."""
        return None if self.twin is None or self.follow is None else self.twin.model


def sources(student: Source, teacher: Source) -> dict[str, Source]:
    """Every view's weights and rendering."""
    return {
        "student": student,
        "student_text": student.seeing("text"),
        "teacher": teacher,
        "teacher_text": teacher.seeing("text"),
        "teacher_degraded": teacher.seeing("degraded"),
        "teacher_black": teacher.seeing("black"),
    }


def make_teachers(
    student: Policy,
    load: Callable[[str], Policy],
    *,
    weights: str | Mapping[str, str],
    column: str | None,
    follow: Follow | None,
    context: str | None,
    degrade: float,
) -> Teachers:
    """weights: "pair", "student" (a copy that stays as it is, or `follow`s), "adapter_off", or a
    checkpoint; or one of these per value of `column`. load: a checkpoint's policy ("pair": the
    pair's teacher)."""
    check_teacher(weights, column, follow, degrade)
    named = {ONLY: weights} if isinstance(weights, str) else dict(weights)
    made: dict[str, Policy] = {}
    for name in named.values():
        if name not in made:
            made[name] = make_teacher(student, load, name)
    if follow is not None:
        follow(made["student"], student, 0)  # between equal weights: only the knobs are checked
    of = {str(value): made[name] for value, name in named.items()}
    return Teachers(
        of,
        column=column,
        twin=made.get("student"),
        follow=follow,
        context=context,
        degrade=degrade,
    )


def make_teacher(student: Policy, load: Callable[[str], Policy], weights: str) -> Policy:
    if weights == "student":
        return copy.deepcopy(student).requires_grad_(False)
    if weights == "adapter_off":
        if not getattr(student.model, "_hf_peft_config_loaded", False):
            raise UserError(
                "teacher.weights=adapter_off: the student has no adapter; set model.adapter, for "
                "example 'model.adapter={r:8,lora_alpha:16}'"
            )
        return AdapterOff(student.model, student.vocabulary, student.head.temperature)
    return load(weights).requires_grad_(False)


def check_teacher(
    weights: str | Mapping[str, str], column: str | None, follow: Follow | None, degrade: float
) -> None:
    """Combinations in which a key would be ignored are refused."""
    several = not isinstance(weights, str)
    if several != (column is not None):
        raise UserError(
            f"teacher.column={column} with teacher.weights={weights}: give a column and one entry "
            "per value of it, or one teacher and column=null"
        )
    names = [weights] if isinstance(weights, str) else list(weights.values())
    if follow is not None and "student" not in names:
        raise UserError(
            "teacher.follow moves a copy of the student, and there is none; use teacher=ema, "
            "teacher=periodic or teacher.weights=student"
        )
    if not 0 < degrade < 1:
        raise UserError(f"teacher.degrade={degrade} must be between 0 and 1: a share of the side")
