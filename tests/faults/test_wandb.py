"""W&B that cannot be reached or dies: training goes on, the run folder has every row."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import wandb

from tests.faults.wandb_server import Server
from tests.runs.conftest import Run
from tests.runs.test_loggers import expected, history, numbers

ONLINE = ("logger=wandb_online", "logger.wandb.finish_timeout=1", "samples.per_step=0")
IMPATIENT = "logger.wandb.init_timeout=1"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str | None], Server]]:
    """server("UpsertBucket"): W&B is this server, which dies after that question."""
    wandb.teardown()  # its service knows the address from when it was started
    started: list[Server] = []

    def start(dies: str | None) -> Server:
        started.append(Server(dies))
        monkeypatch.setenv("WANDB_BASE_URL", started[0].address)
        monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
        return started[0]

    yield start
    wandb.teardown()
    for one in started:
        one.shutdown()
        one.server_close()


def test_a_server_that_answers_gets_every_row(run: Run, server: Callable, readable) -> None:
    there = server(None)
    done = run(*ONLINE)
    assert done.code == 0, done.err
    assert "switched off" not in done.err
    assert any(question.endswith("file_stream") for question in there.asked)
    readable(done, 3)


def test_a_server_that_dies_while_the_run_opens_makes_it_offline(run, server, readable) -> None:
    server("RunResumeStatus")
    done = run(*ONLINE, IMPATIENT)
    assert done.code == 0, done.err
    assert "W&B cannot be reached" in done.err
    assert f"wandb sync {done.folder}/wandb/offline-run-*" in done.err
    assert numbers(history(done.folder)) == [pytest.approx(row) for row in expected(done)]
    readable(done, 3)


def test_a_server_that_dies_mid_run_stops_nothing(run, server, readable) -> None:
    """W&B keeps what it could not send beside the run and says how to send it."""
    server("UpsertBucket")
    done = run(*ONLINE)
    assert done.code == 0, done.err
    assert "wandb sync" in done.err
    assert list(done.folder.glob("wandb/run-*/*.wandb"))
    readable(done, 3)


def test_a_service_that_is_killed_is_switched_off_once(run, injected, readable) -> None:
    done = run("logger=[wandb,tensorboard]", *injected("KillService"))
    assert done.code == 0, done.err
    assert done.err.count("is switched off") == 1
    assert "Wandb failed (Connection" in done.err
    readable(done, 3)
    assert list(done.folder.glob("tensorboard/events*"))


@pytest.mark.slow
def test_a_closed_port_makes_the_run_offline(run, monkeypatch, readable) -> None:
    wandb.teardown()
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    done = run(*ONLINE, IMPATIENT)
    assert done.code == 0, done.err
    assert "W&B cannot be reached" in done.err
    assert "connection refused" in done.err
    readable(done, 3)


def test_the_lines_of_the_documentation_rebuild_a_run(run, monkeypatch) -> None:
    done = run()
    assert done.code == 0, done.err
    text = (Path(__file__).parents[2] / "docs" / "faults.md").read_text()
    (lines,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    monkeypatch.chdir(done.folder)
    exec(lines.replace("runs/mine/run", str(done.folder)), {})
    assert numbers(history(done.folder)) == [pytest.approx(row) for row in expected(done)]
