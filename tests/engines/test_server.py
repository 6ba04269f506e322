"""A server process of ours: ready or refused in one sentence, and never left behind."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from engines.processes import await_end, group

from gndpo.engines import server
from gndpo.errors import UserError

LISTENER = str(Path(__file__).with_name("listener.py"))
SECONDS = 30.0


@pytest.fixture
def running(tmp_path: Path) -> Iterator[server.Process]:
    """Leash, listener and its child."""
    port = server.free_port()
    log = tmp_path / "engine" / "server.log"
    process = server.start([sys.executable, LISTENER, str(port)], log, {})
    server.await_health(process, f"http://127.0.0.1:{port}", log, SECONDS)
    yield process
    if process.poll() is None:
        server.end(process)


def test_ending_a_server_ends_its_children(running: server.Process) -> None:
    members = group(running.pid)
    assert len(members) == 3
    server.end(running)
    assert not group(running.pid)


def test_nothing_outlives_a_server_that_is_killed(running: server.Process) -> None:
    members = group(running.pid)
    listener = sorted(members - {running.pid})[0]
    os.kill(listener, signal.SIGKILL)
    running.wait(SECONDS)
    await_end(members, SECONDS)
    assert not group(running.pid)


OWNER = """\
import sys
from pathlib import Path
from gndpo.engines import server

port = server.free_port()
log = Path(sys.argv[2]) / "server.log"
process = server.start([sys.executable, sys.argv[1], str(port)], log, {})
server.await_health(process, f"http://127.0.0.1:{port}", log, 30.0)
print(process.pid, flush=True)
sys.stdin.read()
"""


def test_nothing_outlives_an_owner_that_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OWNER, LISTENER, str(tmp_path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as owner:
        assert owner.stdout is not None
        leader = int(owner.stdout.readline())
        members = group(leader)
        assert len(members) == 3
        owner.kill()
    await_end(members, SECONDS)
    assert not group(leader)


def test_a_server_that_breaks_is_refused_with_its_own_last_words(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    process = server.start([sys.executable, LISTENER, "0"], log, {})
    with pytest.raises(UserError, match=r"ended while it started \(MemoryError: no room for the"):
        server.await_health(process, "http://127.0.0.1:9", log, SECONDS)


def test_a_server_that_is_late_is_refused_and_ended(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    process = server.start([sys.executable, LISTENER, str(server.free_port())], log, {})
    with pytest.raises(UserError, match="not ready after 0 seconds"):
        server.await_health(process, "http://127.0.0.1:9", log, 0.0)
    assert not group(process.pid)


def test_a_part_without_processes_needs_no_care(tmp_path: Path) -> None:
    with server.opened(len, tmp_path / "engine"):
        assert not (tmp_path / "engine").exists()
