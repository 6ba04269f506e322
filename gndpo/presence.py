"""Whether a process is at a run, which the lock in its folder tells: the kernel frees it when the
process ends, however it ends."""

import fcntl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LOCK = ".lock"


def held(folder: Path) -> bool:
    """Whether a process holds the lock; yes, where that cannot be told."""
    try:
        with (folder / LOCK).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def holder(status: Mapping[str, Any]) -> str:
    return f"process {status.get('pid')} on {status.get('host')}"


def seen(status: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """run.json as it is now: a run whose process was killed could not write that it ended."""
    if status.get("status") != "running":
        return dict(status)
    if held(folder):
        return {**status, "reason": f"at work: {holder(status)}"}
    reason = "its process ended without a word; ckpt=last continues it"
    return {**status, "status": "interrupted", "reason": reason}
