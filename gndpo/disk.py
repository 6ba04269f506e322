"""What a disk may do to a run: lose power, be full, be read-only."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from gndpo.errors import UserError


def synced(path: Path) -> None:
    """A file, or the names in a folder, on the disk: a power loss leaves nothing else behind."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """A full or read-only disk is no bug of ours."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or error
        raise UserError(
            f"cannot write {folder} ({reason}); make room or allow writing there, then continue "
            "with ckpt=last, or choose another hydra.run.dir"
        ) from error
