"""Which processes are alive: what a leash holds, and what is left of it."""

import os
import select
from pathlib import Path


def group(leader: int) -> set[int]:
    """Living processes of a process group."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _, of = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
        except OSError:  # it ended meanwhile
            continue
        if int(of) == leader and state != "Z":
            found.add(int(folder.name))
    return found


def await_end(processes: set[int], seconds: float) -> None:
    """Until all have ended, or nothing more happens for so long."""
    for process in processes:
        try:
            handle = os.pidfd_open(process)
        except ProcessLookupError:
            continue
        select.select([handle], [], [], seconds)
        os.close(handle)
