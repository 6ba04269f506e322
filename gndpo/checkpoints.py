"""Checkpoints without pickled code: safetensors and JSON, written beside and renamed, so no
half-written one is ever read."""

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from gndpo.disk import synced, writing
from gndpo.errors import UserError
from gndpo.sharding import split_as


def save(
    folder: Path,
    step: int,
    weights: Mapping[str, Tensor],
    optimizer: Mapping[str, Tensor],
    carry: Mapping[str, Tensor],
    state: Mapping[str, Any],
    teacher: Mapping[str, Tensor],
) -> Path:
    """Write folder/step-<step>: the weights that train, the optimizer, carry, the counters in
    state, and the weights of a teacher that moves (none: {})."""
    target = folder / f"step-{step:07d}"
    beside = folder / f".step-{step:07d}"
    files = {"student": weights, "optimizer": optimizer, "carry": carry}
    files |= {"teacher": teacher} if teacher else {}
    state = {"step": step, "files": list(files), **state}
    with writing(folder):
        try:
            write(beside, files, state)
            shutil.rmtree(target, ignore_errors=True)
            beside.rename(target)
            synced(folder)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    return target


def write(
    folder: Path, files: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any]
) -> None:
    """A folder of these files; all of it is on the disk when this returns."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, tensors in files.items():
        whole = {key: x.detach().contiguous() for key, x in tensors.items()}
        save_file(whole, folder / f"{name}.safetensors")
    (folder / "state.json").write_text(json.dumps(state))
    for file in folder.iterdir():
        synced(file)
    synced(folder)


def optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's tensors as <parameter name>/<state name>."""
    names: dict[Tensor, str] = {p: name for name, p in model.named_parameters()}
    return {
        f"{names[parameter]}/{key}": torch.as_tensor(value)
        for parameter, entries in optimizer.state.items()
        for key, value in entries.items()
        if value is not None
    }


def found(folder: Path) -> dict[int, Path]:
    """Checkpoints by step, oldest first."""
    paths = sorted(folder.glob("step-*"))
    return {int(path.name.removeprefix("step-")): path for path in paths}


def newest(folder: Path) -> tuple[Path | None, list[str]]:
    """The last checkpoint that can be read, and what is wrong with those after it."""
    troubles: list[str] = []
    for path in reversed(found(folder).values()):
        trouble = trouble_of(path)
        if trouble is None:
            return path, troubles
        troubles.append(f"{path.name} cannot be read ({trouble})")
    return None, troubles


def trouble_of(path: Path) -> str | None:
    """Of a checkpoint: a file that is missing, cut short or no such file at all."""
    try:
        state = json.loads((path / "state.json").read_text())
        for name in state["files"]:
            with safe_open(path / f"{name}.safetensors", "pt"):
                pass  # its header fits its length
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def prune(folder: Path, step: int, keep: int, best: int | None) -> None:
    """Keep the last `keep` checkpoints up to this step, and the best one. Later ones are what
    could not be read: they are written again."""
    for half in folder.glob(".step-*"):
        shutil.rmtree(half)
    paths = {at: path for at, path in found(folder).items() if at <= step}
    for at in [*paths][:-keep]:
        if at != best:
            half = paths[at].rename(folder / f".{paths[at].name}")  # no longer a checkpoint
            shutil.rmtree(half)


def best_step(rows: Iterable[Mapping[str, Any]], measure: str) -> int | None:
    """The first step after the start at which a measure of the student on validation rows was
    highest. rows: of eval.jsonl."""
    reached: dict[int, float] = {}
    for row in rows:
        if (row["model"], row["split"]) != ("student", "validation"):
            continue
        names = [name for name in row if name.startswith("eval/")]
        if names and measure not in names:
            raise UserError(
                f"checkpoint.best={measure} is unknown; choose one of {', '.join(names)}, or null"
            )
        if names and row["step"] > 0:
            reached[row["step"]] = row[measure]
    return max(reached, key=reached.__getitem__, default=None)


def load_weights(path: Path, into: Mapping[str, Tensor], whose: str = "student") -> None:
    """Put a checkpoint's weights into tensors of these names; each must be there, in its shape."""
    stored = read(path / f"{whose}.safetensors")
    for name, tensor in into.items():
        if name not in stored or stored[name].shape != tensor.shape:
            raise UserError(
                f"{path}: {name} is missing or has another shape; "
                "the checkpoint belongs to another model"
            )
        tensor.data.copy_(stored[name])


def load_optimizer(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    parameters = dict(model.named_parameters())
    for name, value in read(path / "optimizer.safetensors").items():
        owner, key = name.rsplit("/", 1)
        parameter = parameters[owner]
        optimizer.state[parameter][key] = (
            split_as(value.to(parameter.device), parameter) if value.dim() else value
        )


def load_state(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The counters and the strategy's carry."""
    try:
        state: dict[str, Any] = json.loads((path / "state.json").read_text())
    except (OSError, ValueError) as error:
        raise corrupt(path, error) from error
    return state, read(path / "carry.safetensors")


def read(file: Path) -> dict[str, Tensor]:
    try:
        return load_file(file)
    except (SafetensorError, OSError, ValueError) as error:
        raise corrupt(file, error) from error


def corrupt(path: Path, error: Exception) -> UserError:
    return UserError(f"checkpoint {path} cannot be read ({error}); use another one")
