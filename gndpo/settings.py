"""What a step needs to know besides its parts."""

from dataclasses import dataclass, replace

from gndpo.pieces import Portion
from gndpo.reading import Speed
from gndpo.schedules import Schedule
from gndpo.update import UpdateSettings


@dataclass(frozen=True)
class Reuse:
    """prompts: read once for answers, scores and update, where a step goes through at once. images:
    what a frozen tower sees, once per image. states: those in which a student of float32 or wider
    wrote are its scores."""

    prompts: bool
    images: bool
    states: bool


@dataclass
class Settings:
    """The values live in conf/; where memory does not suffice, a run takes smaller portions."""

    seed: int
    steps: int
    prompts: int
    group: int
    max_tokens: int
    micro: int | None
    answers: int | None
    rendering: str
    max_prompt_tokens: int
    overlong: str
    aggregation: str
    correction: float | None
    schedule: Schedule
    diagnose_every: int
    diagnose_prompts: int
    samples_per_step: int
    update: UpdateSettings
    reuse: Reuse
    speed: Speed

    def diagnoses(self, step: int) -> bool:
        """Every `diagnose_every` steps, and at the last one."""
        last = step + 1 == self.steps
        return self.diagnose_every > 0 and (step % self.diagnose_every == 0 or last)

    @property
    def portion(self) -> Portion:
        """What is written at a time."""
        return Portion(self.micro, self.answers, self.update.chunk)

    def take(self, portion: Portion) -> None:
        self.micro, self.answers = portion.micro, portion.answers

    @property
    def shared(self) -> "Settings":
        """The same for a model whose weights lie on several ranks."""
        return replace(self, update=replace(self.update, shared=True))

    @property
    def in_one_piece(self) -> bool:
        """Whether all answers of a step go through at once, in rollout and update alike."""
        u = self.update
        parts = (self.micro, self.answers, u.micro, u.answers, u.tokens)
        return parts == (None,) * len(parts) and u.minibatches == 1
