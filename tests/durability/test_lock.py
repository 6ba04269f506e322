"""One process per run folder."""

import os
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from gndpo import train
from gndpo.presence import held
from gndpo.runfolder import RunFolder, Taken
from tests.durability.conftest import elsewhere
from tests.runs.conftest import Run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """As a run that another process is at has it."""
    path = tmp_path / "run"
    path.mkdir()
    here = {"pid": 123456, "host": socket.gethostname(), "config_hash": "another"}
    identity = {"name": "run", "strategy": "raw_kl", "seed": 0, "steps": 3}
    RunFolder(path).write_status(status="running", reason=None, **here, **identity)
    return path


def test_a_second_process_is_told_who_is_there(run: Run, folder: Path) -> None:
    with elsewhere(folder):
        before = {file: file.read_bytes() for file in folder.rglob("*")}
        done = run("ckpt=last")
        assert {file: file.read_bytes() for file in folder.rglob("*")} == before
    assert done.code == 1
    sentence = f"{folder} is being written by process 123456 on {socket.gethostname()}; wait for it"
    assert sentence in done.err
    assert "Traceback" not in done.err


def test_a_sweep_leaves_the_jobs_of_another_process_to_it(
    command: Any, small: list[str], tmp_path: Path, folder: Path
) -> None:
    where = [f"hydra.sweep.dir={tmp_path}", "hydra.sweep.subdir=run"]
    with elsewhere(folder):
        code, err = command(train.main, "-m", *small, "seed=0", *where)
    assert code == 0
    assert "0 of 1 jobs finished" in err
    assert f"run: running: at work: process 123456 on {socket.gethostname()}" in err
    assert "interrupted" not in err


def test_the_lock_goes_with_its_process_and_readers_see_that(folder: Path) -> None:
    with elsewhere(folder) as process:
        assert RunFolder(folder).seen()["status"] == "running"
        with pytest.raises(Taken), RunFolder(folder).alone():
            pass
        os.kill(process, signal.SIGKILL)
        os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT)
        seen = RunFolder(folder).seen()
        assert seen["status"] == "interrupted"
        assert "ckpt=last continues it" in seen["reason"]
        with RunFolder(folder).alone():
            assert held(folder)


def test_a_folder_without_a_lock_is_nobodys(folder: Path) -> None:
    assert not held(folder)
