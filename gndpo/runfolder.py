"""The run folder is the truth: files are appended and flushed per step, or written beside and
renamed."""

import hashlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from gndpo.errors import UserError

PACKAGES = ("gndpo", "torch", "transformers", "lightning", "hydra-core", "numpy", "scikit-learn")

UNIMPORTANT = ("logger", "ckpt", "sweep", "callbacks", "cache_dir", "trainer")
"""Config keys that may differ between two runs that are the same run."""


class RunFolder:
    """One run's files: run.json, metrics.jsonl, samples.jsonl, eval.jsonl, checkpoints/,
    .hydra/."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.started = time.time()

    @property
    def status_file(self) -> Path:
        return self.path / "run.json"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def status(self) -> dict[str, Any]:
        """run.json, or {} where there is none."""
        if not self.status_file.exists():
            return {}
        try:
            status: dict[str, Any] = json.loads(self.status_file.read_text())
        except ValueError as error:
            raise UserError(
                f"{self.status_file} is not readable ({error}); remove the folder or mend the file"
            ) from error
        return status

    def write_status(self, **changes: Any) -> None:
        """Merge into run.json."""
        changes["wall_s"] = round(time.time() - self.started, 2)
        write_text(
            self.status_file, json.dumps(self.status() | changes, indent=1, default=str) + "\n"
        )

    def append(self, name: str, row: Mapping[str, Any]) -> None:
        with (self.path / name).open("a") as file:
            file.write(json.dumps(row) + "\n")
            file.flush()

    def drop_after(self, step: int) -> None:
        """Forget rows beyond `step`: a continued run recomputes them."""
        for name in ("metrics.jsonl", "samples.jsonl", "eval.jsonl"):
            file = self.path / name
            if file.exists():
                kept = [json.dumps(row) for row in read_rows(file) if row["step"] <= step]
                write_text(file, "".join(line + "\n" for line in kept))

    def save_config(self, cfg: DictConfig, hydra_cfg: Any) -> None:
        """What Hydra would have written before we could refuse a used folder."""
        folder = self.path / ".hydra"
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "config.yaml", OmegaConf.to_yaml(cfg))
        write_text(folder / "hydra.yaml", OmegaConf.to_yaml(OmegaConf.create({"hydra": hydra_cfg})))
        write_text(folder / "overrides.yaml", OmegaConf.to_yaml(hydra_cfg.overrides.task))


def read_rows(file: Path) -> Iterator[dict[str, Any]]:
    """The rows of a JSONL file; a last line that was cut off by a crash is left out."""
    lines = file.read_text().splitlines() if file.exists() else []
    for i, line in enumerate(lines):
        try:
            yield json.loads(line)
        except ValueError as error:
            if i + 1 < len(lines):
                raise UserError(f"{file}: line {i + 1} is not JSON ({error})") from error


def write_text(file: Path, text: str) -> None:
    """Written beside and renamed: a reader sees the old file or the new one, never half of it."""
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    beside.write_text(text)
    beside.replace(file)


def config_hash(cfg: DictConfig) -> str:
    """A name for what a run computes: the resolved config without what cannot change its
    numbers."""
    kept: Any = OmegaConf.to_container(cfg, resolve=True)
    for key in UNIMPORTANT:
        kept.pop(key, None)
    if isinstance(kept["model"]["pair"], dict):  # what else was typed is refused later
        kept["model"]["pair"].pop("cache_dir", None)
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]


def environment() -> dict[str, Any]:
    """Where a run ran: commit, versions, device, threads."""
    return {
        "git_commit": git_commit(),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in PACKAGES},
        },
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine(),
        "threads": torch.get_num_threads(),
        "command": " ".join(sys.argv),
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
