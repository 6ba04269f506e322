"""Whole runs whose teacher is behind a server: the same numbers as with the checkpoint here, every
combination that cannot work refused, and what is left when the server is gone."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gndpo.report import cli as report
from tests.runs.conftest import Run
from tests.runs.test_run import numbers
from tests.stand_in import StandIn, serving


@pytest.fixture(scope="module")
def started(pair: dict[str, Path]) -> Iterator[StandIn]:
    with serving(pair["teacher"]) as server:
        yield server


@pytest.fixture
def server(started: StandIn) -> StandIn:
    started.reset()
    return started


@pytest.fixture
def served(server: StandIn) -> list[str]:
    return [
        "teacher=served",
        f"teacher.weights={server.url}",
        f"teacher.service.likeliest={server.vocabulary}",
        "teacher.service.retries=2",
        "teacher.service.pause=0.001",
    ]


@pytest.mark.parametrize("advantage", ["gndpo", "trust_region", "decomposed_sampled"])
def test_metrics_are_those_of_the_teacher_here(run: Run, served: list[str], advantage: str) -> None:
    """Sampled tokens, likeliest ids, views without image."""
    here = run(f"advantage={advantage}", name="here")
    there = run(f"advantage={advantage}", *served, "teacher.service.compare=pair", name="there")
    assert (here.code, there.code) == (0, 0), here.err + there.err
    for a, b in zip(numbers(here.rows()), numbers(there.rows()), strict=True):
        own = {name for name in b if name not in a}
        assert own == {"teacher/forbidden_mass", "teacher/unnamed_mass"}
        assert a.keys() - b.keys() <= {"teacher/kl", "teacher/entropy", "teacher/top1_agreement"}
        for name in a.keys() & b.keys():
            assert b[name] == pytest.approx(a[name], rel=2e-3, abs=2e-4), name
    assert there.status["served_difference_max"] < 1e-5
    assert {row["model"] for row in there.rows("eval.jsonl")} == {"student"}


def test_a_server_that_dies_stops_a_run_that_continues_where_it_was(
    run: Run, server: StandIn, served: list[str], command
) -> None:
    common = ("advantage=gndpo", *served, "checkpoint.every=1")
    whole = run(*common, name="whole")
    server.reset()
    server.left = 5 + 8 + 8 + 3  # the checks, two steps, and a part of the third
    cut = run(*common, name="cut")
    assert cut.code == 1
    assert "does not answer, asked 3 times" in cut.err
    assert "Traceback" not in cut.err
    assert cut.status["status"] == "failed"
    assert [row["step"] for row in cut.rows()] == [1, 2]
    code, _ = command(report.main, str(cut.folder))
    assert code == 0
    server.reset()
    again = run(*common, "ckpt=last", name="cut")
    assert again.code == 0, again.err
    assert numbers(again.rows()) == numbers(whole.rows())


SENTENCES = {
    "advantage=full_kl": "advantage=full_kl reads 'whole distribution' of the teacher view",
    "advantage=eopd": "advantage=eopd reads 'entropy' of the teacher view",
    "rollout=teacher": "gndpo.writers.teacher with teacher=served: a served teacher only scores",
    "rollout=prefix": "gndpo.writers.teacher with teacher=served: a served teacher only scores",
    "rollout=mixed": "gndpo.writers.teacher with teacher=served: a served teacher only scores",
    "rollout=blend": "gndpo.writers.blend with teacher=served: a served teacher only scores",
    "rollout.temperature=0.7": "rollout.temperature=0.7 with teacher=served: vLLM tells",
    "teacher.weights=pair": "teacher.weights=pair: a server's address needs teacher=served",
    "teacher.service.inflight=0": "teacher.service.inflight=0 must be a whole number, 1 or",
    "teacher.service.pause=0": "teacher.service.pause=0 must be a number larger than 0",
    "+teacher.service.retry=1": "teacher.service: unknown key 'retry'",
    "teacher.column=kind": "teacher.column=kind with teacher.weights=http://",
    "model.teacher_quantization=torchao_int8": "the teacher is loaded by its server; quantize",
}


@pytest.mark.parametrize("override", SENTENCES)
def test_what_a_server_cannot_do_is_one_sentence(
    run: Run, served: list[str], override: str
) -> None:
    done = run(*served, override)
    assert done.code == 1
    assert SENTENCES[override] in done.err
    assert "Traceback" not in done.err


def test_an_address_needs_the_teacher_that_is_served(run: Run) -> None:
    done = run("teacher.weights=http://localhost:8000")
    assert done.code == 1
    assert "type teacher=served teacher.weights=http://<host>:<port>" in done.err
