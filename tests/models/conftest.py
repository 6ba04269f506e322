"""Student and teacher of every family, written to disk once and loaded as users load them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from twins import FAMILIES, write
from twins.reading import blank, noise

from gndpo.data.rows import Row
from gndpo.models.load import load_model, load_processor
from gndpo.models.processor import Processor
from gndpo.models.vocabulary import Vocabulary
from gndpo.policy import Policy
from gndpo.prompts import Prompts, make_prompts


def row_of(problem: str, images: list, name: str = "test/0") -> Row:
    return Row(
        name=name,
        images=images,
        problem=problem,
        answer="7",
        choices=[],
        solution="",
        kind="",
        fields={},
    )


@dataclass(frozen=True)
class Family:
    """One architecture: its checkpoints, and three questions with no, one and two images (none for
    families that only read)."""

    name: str
    student: Path
    teacher: Path

    @property
    def sees(self) -> bool:
        return not self.name.startswith("text")

    def processor(self, **options) -> Processor:
        return load_processor(self.student, **options)

    def policy(
        self, which: str = "student", dtype: torch.dtype = torch.double, **options
    ) -> Policy:
        path = {"student": self.student, "teacher": self.teacher}[which]
        model = load_model(path, dtype, **options)
        return Policy(model, Vocabulary.of(self.processor(), model, None))

    def rows(self) -> list[Row]:
        pictures = [noise(32, 32), noise(48, 32)] if self.sees else []
        return [
            row_of("How many?", pictures[:1], "test/0"),
            row_of("Is it so, or is it not?", [], "test/1"),
            row_of("Compare <image> with <image> now" if self.sees else "Why?", pictures, "test/2"),
        ]

    def prompts(self, images: bool = True) -> Prompts:
        rows = self.rows()
        if not images:
            rows = [
                Row(**{**row, "images": [blank(*x.size) for x in row["images"]]}) for row in rows
            ]
        return make_prompts(rows, self.processor())


@pytest.fixture(scope="session")
def families(tmp_path_factory) -> Callable[[str], Family]:
    root, made = tmp_path_factory.mktemp("twins"), {}

    def family(name: str) -> Family:
        if name not in made:
            student = write(name, root / name / "student", seed=0, layers=2)
            teacher = write(name, root / name / "teacher", seed=1, layers=3)
            made[name] = Family(name, student, teacher)
        return made[name]

    return family


@pytest.fixture(params=FAMILIES)
def family(request, families) -> Family:
    return families(request.param)
