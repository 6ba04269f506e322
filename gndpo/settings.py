"""What a step needs to know besides its parts."""

from dataclasses import dataclass

from gndpo.schedules import Schedule
from gndpo.update import UpdateSettings


@dataclass(frozen=True)
class Settings:
    """The values live in conf/."""

    seed: int
    steps: int
    group: int
    max_tokens: int
    micro: int | None
    answers: int | None
    rendering: str
    max_prompt_tokens: int
    overlong: str
    aggregation: str
    schedule: Schedule
    diagnose_every: int
    diagnose_prompts: int
    samples_per_step: int
    update: UpdateSettings
