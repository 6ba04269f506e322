"""One process's side of the protocol, and both sides of a case."""

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import ours, pairs
from benchmarks.cases import TINY
from benchmarks.compare import lines, measure
from benchmarks.meter import Meter
from benchmarks.records import append, read

CASE = replace(TINY, prompt=64, answer=6, group=2, prompts=2, rounds=2)


def test_a_step_per_command_and_no_answer_ends_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs.write(CASE, tmp_path, steps=2)
    said = io.StringIO()
    monkeypatch.setattr("sys.stdin", io.StringIO("step\nstep\n"))
    cfg = ours.configuration(CASE, tmp_path, "full_kl", ours.ENDLESS)
    with pytest.raises(SystemExit):
        ours.fit(cfg, ours.make_module(cfg), [ours.Steps(Meter(said))])
    start, *steps = map(json.loads, said.getvalue().splitlines())
    assert len(steps) == 2
    for step in steps:
        assert step["length"] == CASE.answer
        assert step["loss"] > 0
        assert 0 < step["rollout"] + step["score"] + step["update"] < step["seconds"]
        assert step["peak"] >= start["rss"] > 0


@pytest.mark.slow
def test_both_sides_of_a_case_step_by_step(tmp_path: Path) -> None:
    pytest.importorskip("trl")
    record = measure(CASE)
    append(record, tmp_path / "some" / "compare.jsonl")
    (again,) = read(tmp_path / "some" / "compare.jsonl")
    assert again.case == CASE
    for name, arm in again.arms.items():
        assert len(arm.steps) == CASE.rounds
        assert arm.phase("rollout") + arm.phase("score") + arm.phase("update") <= arm.seconds
        assert any(name in line for line in lines(record))
