"""What a cached result depends on, and how it gets there: by one process, whole or not at all."""

import ast
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path

import torch
from filelock import FileLock
from torch import Tensor

from gndpo.errors import UserError


def fingerprint(settings: str, files: Iterable[Path]) -> str:
    """Hash of settings, Python files (comments and layout left out) and library versions."""
    code = [ast.unparse(ast.parse(file.read_text())) for file in files]
    libraries = {name: version(name) for name in ("torch", "transformers", "scikit-learn")}
    text = json.dumps([settings, code, libraries])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def digest(tensors: Iterable[Tensor], text: str) -> str:
    """Hash of numbers and a text."""
    found = hashlib.sha256(text.encode())
    for x in tensors:
        found.update(repr((x.dtype, tuple(x.shape))).encode())
        found.update(x.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return found.hexdigest()[:32]


def cached(folder: Path, make: Callable[[Path], None]) -> Path:
    """The folder, made by `make(empty folder)` if it is missing.

    Other processes wait meanwhile; an interrupted one leaves nothing behind.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")):
            if not folder.exists():
                make_beside(folder, make)
    except (PermissionError, NotADirectoryError, FileExistsError) as error:
        raise UserError(
            f"cannot write the cache {folder.parent}: {error.strerror}; set cache_dir=<folder>"
        ) from error
    return folder


def make_beside(folder: Path, make: Callable[[Path], None]) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        beside = Path(scratch) / folder.name
        beside.mkdir()
        make(beside)
        os.replace(beside, folder)
