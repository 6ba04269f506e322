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
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    carry: Mapping[str, Tensor],
    state: Mapping[str, Any],
    teacher: nn.Module | None = None,
) -> Path:
    """Write folder/step-<step>: weights, optimizer, carry, the counters in state, and a teacher
    that moves."""
    target = folder / f"step-{step:07d}"
    beside = folder / f".step-{step:07d}"
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    save_file(weights(model), beside / "student.safetensors")
    save_file(optimizer_tensors(model, optimizer), beside / "optimizer.safetensors")
    save_file({name: x.contiguous() for name, x in carry.items()}, beside / "carry.safetensors")
    if teacher is not None:
        save_file(weights(teacher), beside / "teacher.safetensors")
    (beside / "state.json").write_text(json.dumps({"step": step, **state}))
    shutil.rmtree(target, ignore_errors=True)
    beside.rename(target)
    return target


def weights(model: nn.Module) -> dict[str, Tensor]:
    """Every parameter once: tied ones share a name."""
    return {name: parameter.detach().contiguous() for name, parameter in model.named_parameters()}


def optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's tensors as <parameter name>/<state name>."""
    names: dict[Tensor, str] = {p: name for name, p in model.named_parameters()}
    return {
        f"{names[parameter]}/{key}": torch.as_tensor(value).contiguous()
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


def load_weights(path: Path, model: nn.Module, whose: str = "student") -> None:
    """Put a checkpoint's weights into the model; every parameter must be there, in its shape."""
    stored = read(path / f"{whose}.safetensors")
    for name, parameter in model.named_parameters():
        if name not in stored or stored[name].shape != parameter.shape:
            raise UserError(
                f"{path}: {name} is missing or has another shape; "
                "the checkpoint belongs to another model"
            )
        parameter.data.copy_(stored[name])


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
