"""The run folder is the truth: files are appended and flushed per step, or written beside and
renamed."""

import hashlib
import json
import os
import platform
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf

from gndpo import presence
from gndpo.disk import synced, writing
from gndpo.errors import UserError
from gndpo.ranks import by_first
from gndpo.secrets import as_yaml

PACKAGES = ("gndpo", "torch", "transformers", "lightning", "hydra-core", "numpy", "scikit-learn")

UNIMPORTANT = ("logger", "ckpt", "sweep", "callbacks", "cache_dir", "trainer", "checkpoint")
"""Config keys that may differ between two runs that are the same run."""

LOGS = ("metrics.jsonl", "samples.jsonl", "eval.jsonl")
"""Rows by step."""

PATIENCE = 1.0
"""Seconds that a lock is waited for: who only looks whether it is held has it for an instant."""


class Taken(UserError):
    """Another process writes the folder."""


class RunFolder:
    """One run's files: run.json, metrics.jsonl, samples.jsonl, eval.jsonl, checkpoints/,
    .hydra/, .lock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.started = time.time()

    @property
    def status_file(self) -> Path:
        return self.path / "run.json"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the run's lock."""
        with writing(self.path):
            try:
                held = FileLock(self.path / presence.LOCK).acquire(timeout=PATIENCE)
            except Timeout as error:
                who = presence.holder(self.status())
                raise Taken(f"{self.path} is being written by {who}") from error
        with held:
            yield

    def seen(self) -> dict[str, Any]:
        """run.json as it is now."""
        return presence.seen(self.status(), self.path)

    def status(self) -> dict[str, Any]:
        """run.json, or {} where there is none."""
        if not self.status_file.exists():
            return {}
        try:
            status = json.loads(self.status_file.read_bytes())
        except ValueError as error:
            raise UserError(
                f"{self.status_file} is not readable ({error}); remove the folder or mend the file"
            ) from error
        if not isinstance(status, dict):
            raise UserError(f"{self.status_file} holds no run; remove the folder or mend the file")
        return status

    @by_first
    def write_status(self, **changes: Any) -> None:
        """Merge into run.json."""
        changes["wall_s"] = round(time.time() - self.started, 2)
        write_text(
            self.status_file, json.dumps(self.status() | changes, indent=1, default=str) + "\n"
        )

    @by_first
    def append(self, name: str, row: Mapping[str, Any]) -> None:
        with writing(self.path), (self.path / name).open("a") as file:
            file.write(json.dumps(row) + "\n")
            file.flush()

    @by_first
    def sync(self) -> None:
        """All rows are on the disk when this returns."""
        for name in LOGS:
            if (self.path / name).exists():
                synced(self.path / name)

    @by_first
    def drop_after(self, step: int) -> None:
        """Forget rows beyond `step`: a continued run recomputes them."""
        for name in LOGS:
            file = self.path / name
            if file.exists():
                kept = [json.dumps(row) for row in read_rows(file) if step_of(row, file) <= step]
                write_text(file, "".join(line + "\n" for line in kept))

    @by_first
    def save_config(self, cfg: DictConfig, hydra_cfg: Any) -> None:
        """What Hydra would have written before we could refuse a used folder."""
        folder = self.path / ".hydra"
        with writing(self.path):
            folder.mkdir(parents=True, exist_ok=True)
        for name, content in (
            ("config", cfg),
            ("hydra", OmegaConf.create({"hydra": hydra_cfg})),
            ("overrides", hydra_cfg.overrides.task),
        ):
            write_text(folder / f"{name}.yaml", as_yaml(content))


def read_rows(file: Path) -> Iterator[dict[str, Any]]:
    """The rows of a JSONL file; a last line that was cut off by a crash is left out."""
    lines = file.read_bytes().splitlines() if file.exists() else []
    for i, line in enumerate(lines):
        try:
            row = json.loads(line)
        except ValueError as error:
            if i + 1 < len(lines):
                raise UserError(f"{file}: line {i + 1} is not JSON ({error})") from error
            return
        if not isinstance(row, dict):
            raise UserError(f"{file}: line {i + 1} is no row, but {row!r:.60}")
        yield row


def step_of(row: Mapping[str, Any], file: Path) -> int:
    step = row.get("step")
    if not isinstance(step, int):
        raise UserError(f"{file}: a row's step is {step!r:.60}; mend the file or remove the folder")
    return step


def write_text(file: Path, text: str) -> None:
    """Written beside and renamed: a reader sees the old file or the new one, never half of it."""
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    with writing(file.parent):
        try:
            beside.write_text(text)
            synced(beside)
            beside.replace(file)
        finally:
            beside.unlink(missing_ok=True)


def hide_secrets(file: Path) -> None:
    """In a YAML file that Hydra wrote, if it did."""
    if file.exists():
        write_text(file, as_yaml(OmegaConf.load(file)))


def config_hash(cfg: DictConfig) -> str:
    """A name for what a run computes: the resolved config without what cannot change its
    numbers."""
    kept: Any = OmegaConf.to_container(cfg, resolve=True)
    for key in UNIMPORTANT:
        kept.pop(key, None)
    model = kept.get("model")
    pair = model.get("pair") if isinstance(model, dict) else None
    if isinstance(pair, dict):  # what else was typed is refused later
        pair.pop("cache_dir", None)
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]


def environment() -> dict[str, Any]:
    """Where a run ran: commit, versions, device, threads, process."""
    return {
        "git_commit": git_commit(),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in PACKAGES},
        },
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine(),
        "threads": torch.get_num_threads(),
        "command": " ".join(sys.argv),
        "host": socket.gethostname(),
        "pid": os.getpid(),
    }


def git_commit() -> str | None:
    """The commit of the checkout that the code runs from, "+" appended where it was changed;
    None outside one."""
    here = Path(__file__).parent
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True
        )
        dirty = subprocess.run(
            ["git", "status", "--porcelain"], cwd=here, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit.stdout.strip() + ("+" if dirty.stdout.strip() else "")
