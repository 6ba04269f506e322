"""Every benchmark's configuration on data with its true columns: prompt, images, grader."""

from itertools import islice
from pathlib import Path
from typing import cast

import pytest
from hydra.errors import CompactHydraException

from gndpo.benchmarks.benchmark import Benchmark
from gndpo.build import build, config_folder
from gndpo.data.rows import Row
from tests.benchmarks.conftest import Section
from tests.benchmarks.data import ANSWERS, COLUMNS

NAMES = sorted(file.stem for file in (Path(config_folder()) / "benchmark").glob("*.yaml"))
FIRST_LINES = {
    "mathvista_mini": "Hint: Please answer with one decimal place.",
    "mathverse_vision_only": "Please first conduct reasoning, and then answer.",
    "mathverse_vision_dominant": "Please first conduct reasoning, and then answer.",
    "mathvision": "Which is it?",
    "mmmu": "Which is <image>?",
    "mmmu_pro": "Which is <image>?",
    "logicvista": "Next?",
    "dynamath": "What is the area?",
    "wemath": "How large?",
    "visualpuzzles": "Next?",
    "vlmsareblind": "Count the rows and columns.",
    "geometry3k": "<image>Find x. You FIRST think about the reasoning process as an internal",
    "aime24": "Find m + n.",
    "aime25": "Find m + n.",
    "amc23": "How many?",
    "math500": "Convert.",
    "gpqa_diamond": "Which lifetime?",
}
WITH_CHOICES = {"mathvision": "\nB. B", "mmmu": "\nB. green", "mmmu_pro": "\nB. green"}
WITH_CHOICES |= {"visualpuzzles": "\nD. four", "gpqa_diamond": "\nC. 3 ns", "wemath": "\nA. 1; B"}
TEXT = ("aime24", "aime25", "amc23", "math500", "gpqa_diamond")


def rows_of(benchmark: Benchmark) -> list[Row]:
    return list(islice(benchmark.rows("test", 0), 9))


def test_no_benchmark_is_missing_here() -> None:
    assert NAMES == sorted(COLUMNS) == sorted(FIRST_LINES) == sorted(ANSWERS)


@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_asks_and_grades(section: Section, name: str) -> None:
    benchmark: Benchmark = build(section(name), "benchmark")
    rows = rows_of(benchmark)
    assert len(rows) == (1 if "mathverse" in name else 2)  # the others are filtered
    assert rows[0]["problem"].startswith(FIRST_LINES[name])
    assert "\\boxed{" in rows[0]["problem"]
    assert WITH_CHOICES.get(name, "") in rows[0]["problem"]
    assert len(rows[0]["images"]) == (0 if name in TEXT else 2 if name == "mmmu_pro" else 1)
    right, wrong = ANSWERS[name]
    rewards = benchmark.reward([right, wrong], [rows[0], rows[0]])
    assert [reward.correct for reward in rewards] == [1.0, 0.0]
    assert benchmark.name == name


SECOND = {
    "mathvista_mini": ("B", "B", "A"),
    "mathvision": ("12", "\\boxed{12.0}", "\\boxed{13}"),
    "mmmu": ("12", "\\boxed{12}", "12 or 13"),
    "dynamath": ("B", "(B)", "A"),
    "visualpuzzles": ("D", "\\boxed{D}", "\\boxed{four}"),
    "vlmsareblind": ("Yes", "yes.", "no"),
}


@pytest.mark.parametrize("name", SECOND)
def test_rows_of_another_sort(section: Section, name: str) -> None:
    """Free-form among multiple choice and the other way round."""
    benchmark: Benchmark = build(section(name), "benchmark")
    row = rows_of(benchmark)[1]
    answer, right, wrong = SECOND[name]
    assert row["answer"] == answer
    assert [r.correct for r in benchmark.reward([right, wrong], [row, row])] == [1.0, 0.0]


def test_images_stand_where_the_question_names_them(section: Section) -> None:
    row = rows_of(cast(Benchmark, build(section("mmmu_pro"), "benchmark")))[1]
    assert row["problem"].startswith("Is <image> like <image>?")
    assert len(row["images"]) == row["problem"].count("<image>") == 3  # an option shows one again


@pytest.mark.parametrize("name", NAMES)
def test_samples_are_counted_as_in_the_papers(section: Section, name: str) -> None:
    benchmark: Benchmark = build(section(name), "benchmark")
    competitions = {"aime24": 32, "aime25": 32, "amc23": 32, "gpqa_diamond": 4}
    vgs = ("mathverse", "mathvision", "mmmu_pro", "logicvista", "visualpuzzles", "vlmsareblind")
    assert benchmark.k == competitions.get(name, 16 if name.startswith(vgs) else 0)
    assert benchmark.greedy == (name not in competitions)
    assert benchmark.temperature == 1.0


def test_a_benchmark_that_asks_nothing_is_refused(section: Section) -> None:
    with pytest.raises(
        CompactHydraException, match="nothing would be asked; set k above 0 or greedy=true"
    ):
        build(section("math500", "greedy=false"), "benchmark")
