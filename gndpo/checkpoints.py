"""Checkpoints without pickled code: safetensors and JSON, written beside and renamed, so no
half-written one is ever read."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from gndpo.errors import UserError


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
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    files = {"student": weights, "optimizer": optimizer, "carry": carry}
    for name, tensors in (files | ({"teacher": teacher} if teacher else {})).items():
        whole = {key: x.detach().contiguous() for key, x in tensors.items()}
        save_file(whole, beside / f"{name}.safetensors")
    (beside / "state.json").write_text(json.dumps({"step": step, **state}))
    shutil.rmtree(target, ignore_errors=True)
    beside.rename(target)
    return target


def optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's tensors as <parameter name>/<state name>."""
    names: dict[Tensor, str] = {p: name for name, p in model.named_parameters()}
    return {
        f"{names[parameter]}/{key}": torch.as_tensor(value)
        for parameter, entries in optimizer.state.items()
        for key, value in entries.items()
        if value is not None
    }


def found(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    return sorted(folder.glob("step-*"))


def prune(folder: Path, keep: int) -> None:
    for old in found(folder)[:-keep]:
        shutil.rmtree(old)


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
        optimizer.state[parameters[owner]][key] = (
            value.to(parameters[owner].device) if value.dim() else value
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
    return UserError(
        f"checkpoint {path} cannot be read ({error}); remove it to continue from the one before"
    )
