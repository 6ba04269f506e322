"""Which part of a model a weight belongs to, and which parts learn."""

from collections.abc import Iterable, Sequence

from torch import nn

from gndpo.errors import UserError

PARTS = ("vision", "projector", "language")
PROJECTORS = ("multi_modal_projector", "visual.merger", "deepstack_merger", "image_newline")
TOWERS = ("vision_tower", "vision_model", "visual.")


def part_of(name: str) -> str:
    """By the names that transformers gives its modules: what turns features into the language
    model's width is the projector."""
    if any(part in name for part in PROJECTORS):
        return "projector"
    return "vision" if any(part in name for part in TOWERS) else "language"


def train_only(model: nn.Module, parts: Sequence[str]) -> None:
    """Freeze everything else."""
    model.requires_grad_(False)
    learn(model, parts)


def learn(model: nn.Module, parts: Sequence[str]) -> None:
    """Let these parts learn, besides what does already."""
    there = {part_of(name) for name, _ in model.named_parameters()}
    unknown = [part for part in parts if part not in PARTS]
    if unknown or not parts:
        raise UserError(f"model.parts={list(parts)}: choose at least one of {', '.join(PARTS)}")
    if not there & {*parts}:
        raise UserError(
            f"model.parts={list(parts)}: the student has only {', '.join(sorted(there))}; "
            "use model.parts=null"
        )
    for name, parameter in model.named_parameters():
        if part_of(name) in parts:
            parameter.requires_grad_()


def trained(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that learn, by name; tied ones once."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def linear_layers(model: nn.Module, part: str, without: Iterable[nn.Module]) -> list[str]:
    """Names of a part's linear layers."""
    left_out = {id(module) for module in without}
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and part_of(name) == part and id(module) not in left_out
    ]
