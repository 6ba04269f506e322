"""A server process that a run owns: started, asked how it is, and ended with the run, however that
ends."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol, runtime_checkable

import httpx

from gndpo.engines import leash
from gndpo.errors import UserError

Process = subprocess.Popen[bytes]
PAUSE_S = 0.25
"""Between two questions to a server that is not ready yet."""


@runtime_checkable
class Engine(Protocol):
    """A part of a run that keeps processes. open: where it may write."""

    def open(self, folder: Path) -> None: ...

    def close(self) -> None: ...


@contextmanager
def opened(part: object, folder: Path) -> Iterator[None]:
    """An engine works inside; nothing of it is left behind. Other parts need no care."""
    if not isinstance(part, Engine):
        yield
        return
    part.open(folder)
    try:
        yield
    finally:
        part.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(command: Sequence[str], log: Path, environment: Mapping[str, str]) -> Process:
    """The command on a leash (`gndpo.engines.leash`), what it says into a file. Ctrl-C does not
    reach it."""
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as out:
            return subprocess.Popen(
                [sys.executable, "-I", leash.__file__, *command],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=log.parent,
                env={**os.environ, **environment},
                start_new_session=True,
            )
    except OSError as error:
        raise UserError(f"cannot start {command[0]} ({error}); its log would be {log}") from error


def await_health(process: Process, url: str, log: Path, seconds: float) -> None:
    """Until GET url/health says 200. A server that ends meanwhile, or takes longer, is refused."""
    deadline = time.monotonic() + seconds
    while not healthy(url):
        if process.poll() is not None:
            raise UserError(f"the server ended while it started ({complaint(log)}); see {log}")
        if time.monotonic() > deadline:
            end(process)
            raise UserError(
                f"the server was not ready after {seconds:g} seconds; raise "
                f"rollout.writer.start_s, or see {log}"
            )
        with suppress(subprocess.TimeoutExpired):
            process.wait(PAUSE_S)


def healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", trust_env=False, timeout=PAUSE_S * 20).is_success
    except httpx.TransportError:
        return False


def complaint(log: Path) -> str:
    """The last line that names an error; the last one, where none does."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if re.search(r"\w*(Error|Exception): ", line)]
    return (errors or lines or ["it said nothing"])[-1][-200:]


def end(process: Process) -> None:
    """Let the leash go, and wait until nothing of its group is left."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(2 * leash.GRACE_S)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
