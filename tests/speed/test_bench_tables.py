"""From measured seconds to tables, verdicts and figures, with numbers made up by hand."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import tables
from benchmarks.cases import IDENTICAL, LARGE_V, SMALL_V, Case, grouped
from benchmarks.figures import Line, draw_growth
from benchmarks.growth import AXES, axes, cases, exponent, per_token
from benchmarks.records import Arm, Record, append, read
from benchmarks.targets import verdicts

MACHINE = {"processor": "made up"}
RATES = {"gemm": 1e12, "shaped": 1e12, "copy": 1e12}


def arm(seconds: float, peak: float = 1e9) -> Arm:
    step = {"seconds": seconds, "cpu": seconds, "rollout": 0.5, "score": 0.25, "peak": peak}
    return Arm(rss=10**8, steps=[step, {**step, "seconds": 2 * seconds}, step])


def record(case: Case, **seconds: float) -> Record:
    return Record(case, {name: arm(x) for name, x in seconds.items()}, MACHINE, RATES)


def test_medians_and_what_is_left_for_the_update() -> None:
    found = arm(1.0)
    assert (found.fastest, found.seconds, found.peak) == (1.0, 1.0, 1e9)
    assert found.phase("update") == 0.25
    assert replace(found, steps=[{**found.steps[0], "update": 0.1}]).phase("update") == 0.1


def test_a_file_gives_back_what_was_written(tmp_path: Path) -> None:
    first, second = record(SMALL_V, trl=2.0, full_kl=1.0), record(LARGE_V, trl=3.0, full_kl=1.0)
    for one in (first, second):
        append(one, tmp_path / "compare.jsonl")
    assert read(tmp_path / "compare.jsonl") == [first, second]
    assert read(tmp_path / "none.jsonl") == []


def test_what_sharing_must_bring_follows_from_one_answer_each() -> None:
    alone = record(grouped(SMALL_V, 1), trl=4.0, full_kl=2.0)
    shared = record(grouped(SMALL_V, 8), trl=4.0, full_kl=0.5)
    slow = {"rollout": 1.0, "score": 1.0, "update": 1.0}
    found = list(verdicts([alone, shared], lambda record: slow))
    speed = [(v.asked, v.found, v.word) for v in found if v.sign == ">="]
    assert speed == [
        (1.5, 2.0, "yes"),
        (pytest.approx(0.7 * 8 * 292 / 516 * 2.0), 8.0, "yes"),
    ]
    assert [v.found for v in found if v.sign == "<="] == [1.25, pytest.approx(-0.25)]


def test_strategies_are_held_to_full_kl_at_the_large_vocabulary() -> None:
    arms = dict(zip((*IDENTICAL, "decomposed", "raw_kl"), (8.0, 4.0, 6.0, 1.0), strict=True))
    found = {v.what.split(",")[0]: v for v in verdicts([record(LARGE_V, **arms)], lambda _: {})}
    assert {what: (v.found, v.word) for what, v in found.items()} == {
        "peak memory over TRL's": (1.0, "no"),
        "`decomposed`": (1.5, "no"),
        "`raw_kl`": (4.0, "yes"),
    }


def test_the_report_has_every_case_and_the_ratio(tmp_path: Path) -> None:
    for case in (SMALL_V, replace(SMALL_V, family="llava", threads=2)):
        append(record(case, trl=3.0, full_kl=1.2, raw_kl=1.0), tmp_path / "compare.jsonl")
    tables.main(str(tmp_path))
    written = (tmp_path / "compare.md").read_text()
    assert "| LLaVA, V = 1,024 | 2 | 3, 3 | 1.2, 1.2 | **2.50** | 2.50 | 85.3 | 213 |" in written
    assert "| V = 1,024 | `raw_kl` | 1, 1 | 1.20 | 3.00 |" in written
    assert (tmp_path / "compare.png").stat().st_size > 10_000


def test_growth_is_a_slope_and_a_cost_per_token(tmp_path: Path) -> None:
    assert exponent([1, 10, 100], [5, 1, 10]) == 1
    line = Line("T", [8, 16, 32], [1.0, 1.0, 1.0], [1.0, 10.0, 26.0])
    assert per_token(line, answers=8) == 125  # 16 MB for 8 * 16 tokens, in kB
    draw_growth([line], tmp_path / "growth.png")
    assert (tmp_path / "growth.png").stat().st_size > 10_000
    assert [name for name, _ in axes()] == list(AXES)
    assert len(cases()) == len({case.name for case in cases()})
