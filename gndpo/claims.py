"""A run folder is one run's, and one process's at a time."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from gndpo.errors import UserError
from gndpo.runfolder import RunFolder, Taken

log = logging.getLogger(__name__)

OTHERS = ("metrics.jsonl", "checkpoints", "multirun.yaml", "report")
"""What only a used folder holds."""


@contextmanager
def claimed(folder: RunFolder, name: str, ckpt: str | None, *, sweeping: bool) -> Iterator[bool]:
    """Whether there is something to do in the folder, which is ours meanwhile. Folders of others
    are refused before anything in them is touched. A sweep leaves to another process what that
    is at: two of them share its jobs."""
    if not folder.status() and any((folder.path / other).exists() for other in OTHERS):
        raise UserError(f"{folder.path} holds other files; choose another hydra.run.dir or sweep")
    with ExitStack() as lock:
        try:
            lock.enter_context(folder.alone())
        except Taken as error:
            if not sweeping:
                wait = "wait for it, or choose another hydra.run.dir"
                raise UserError(f"{error}; {wait}") from error
            log.info("%s, skipped", error)
            yield False
        else:
            todo = claim(folder, name, again=sweeping or ckpt == "last")
            if not todo:
                log.info("%s is finished already, skipped", folder.path)
            yield todo


def claim(folder: RunFolder, name: str, *, again: bool) -> bool:
    """Whether there is something to do; a folder of another run is refused."""
    status = folder.status()
    if status.get("status") == "failed" and not (folder.path / "metrics.jsonl").exists():
        return True
    if status and status.get("config_hash") != name:
        raise UserError(
            f"{folder.path} holds another run; choose another hydra.run.dir or sweep, "
            "or remove the folder"
        )
    if status and not again:
        raise UserError(
            f"{folder.path} holds this run already (status: {status.get('status')}); "
            "use ckpt=last to continue it, or remove the folder"
        )
    return status.get("status") != "completed"
