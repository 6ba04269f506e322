"""`python leash.py <command>`: a command that ends with its owner, who holds our standard input.

The owner may be killed without a last word: the pipe closes all the same. This needs a session of
its own (`start_new_session`), for at the end every process of its group is ended, itself too.
"""

import os
import select
import signal
import subprocess
import sys
from contextlib import suppress

GRACE_S = 10.0
"""Seconds to leave in order, before SIGKILL."""


def main(command: list[str]) -> None:
    signal.signal(signal.SIGTERM, lambda *_: None)  # the group's, which means the others
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    select.select([sys.stdin, os.pidfd_open(server.pid)], [], [])
    os.killpg(0, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        server.wait(GRACE_S)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1:])
