"""What was measured, a line of JSON per case."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.cases import Case


@dataclass(frozen=True)
class Arm:
    """One side of a case. rss: bytes in memory before the first step. steps: of every timed one the
    seconds, the processor's (cpu), those of the phases, and the most bytes so far (peak)."""

    rss: int
    steps: Sequence[Mapping[str, float]]

    def median(self, name: str) -> float:
        return median(step[name] for step in self.steps)

    @property
    def fastest(self) -> float:
        return min(step["seconds"] for step in self.steps)

    @property
    def seconds(self) -> float:
        return self.median("seconds")

    @property
    def peak(self) -> float:
        return max(step["peak"] for step in self.steps)

    def phase(self, name: str) -> float:
        """Seconds of rollout, score or update; of TRL the update is what is left of a step."""
        if name in self.steps[0]:
            return self.median(name)
        return median(step["seconds"] - step["rollout"] - step["score"] for step in self.steps)


@dataclass(frozen=True)
class Record:
    """A case, its arms side by side, and where: machine, and its rates per second just then."""

    case: Case
    arms: Mapping[str, Arm]
    machine: Mapping[str, str]
    rates: Mapping[str, float]

    def faster(self, arm: str, than: str) -> float:
        """Steps per second of one arm over those of another."""
        return self.arms[than].seconds / self.arms[arm].seconds

    def smaller(self, arm: str, than: str) -> float:
        """Peak memory of one arm over that of another."""
        return self.arms[arm].peak / self.arms[than].peak


def read(file: Path) -> list[Record]:
    """What a results file holds; nothing where there is none."""
    if not file.exists():
        return []
    return [record_of(json.loads(line)) for line in file.read_text().splitlines()]


def record_of(content: Mapping[str, Any]) -> Record:
    case = Case(**content["case"] | {"arms": tuple(content["case"]["arms"])})
    arms = {name: Arm(**arm) for name, arm in content["arms"].items()}
    return Record(case, arms, content["machine"], content["rates"])


def append(record: Record, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as out:
        out.write(json.dumps(asdict(record)) + "\n")
