"""Predicted peak memory of a run: bytes per item and phase, from the models' shapes and the
settings, before the first step. Tensors are never read: models may lie on the meta device.

Not counted: the accelerator's context and kernels' workspaces (about 1 GB) and what the allocator
loses between blocks (5 to 10%).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor
from transformers import PreTrainedModel

from gndpo.memory.footprint import encoding, kept, rollout, scoring, state, step, update
from gndpo.memory.sizes import Sizes
from gndpo.prompts import Rendering

GB = 10**9

KNOBS: Mapping[str, tuple[str, ...]] = {
    "student": ("model.dtype",),
    "masters": ("model.parts", "model.adapter"),
    "gradients": ("model.parts", "model.adapter"),
    "optimizer": ("optimizer", "model.adapter"),
    "optimizer temporaries": ("optimizer", "model.adapter"),
    "teacher": ("model.teacher_quantization", "model.teacher_dtype"),
    "cache": ("rollout.micro", "rollout.answers", "updates.micro", "rollout.max_tokens"),
    "sampling": ("rollout.micro",),
    "encoding": ("rollout.micro",),
    "scoring": ("updates.micro", "updates.answers"),
    "activations": ("updates.micro", "updates.answers", "model.checkpointing"),
    "vision": ("updates.micro", "model.parts", "model.checkpointing"),
    "attention masks": ("updates.answers", "model.attention", "updates.micro"),
    "head": ("updates.chunk",),
    "kept distributions": ("prompts", "rollout.group"),
    "frozen head": ("model.adapter",),
}
"""What makes an item smaller, the strongest first."""


@dataclass(frozen=True)
class Memory:
    """phases: bytes per item, for each phase of a step. device: bytes that there are, if known."""

    phases: Mapping[str, Mapping[str, int]]
    device: int | None = None

    @property
    def phase(self) -> str:
        return max(self.phases, key=lambda name: sum(self.phases[name].values()))

    @property
    def items(self) -> Mapping[str, int]:
        """Of the phase that needs most, the largest first."""
        items = self.phases[self.phase]
        return dict(sorted(items.items(), key=lambda item: -item[1]))

    @property
    def peak(self) -> int:
        return sum(self.items.values())

    @property
    def knobs(self) -> tuple[str, ...]:
        """What lowers the three largest items that a knob can lower, each knob once."""
        large = [name for name, size in self.items.items() if size > self.peak / 20][:3]
        return tuple(dict.fromkeys(knob for name in large for knob in KNOBS[name]))

    def __str__(self) -> str:
        shown = {k: v for k, v in self.items.items() if v >= 0.005 * self.peak}
        listed = ", ".join(f"{name} {size / GB:.3g}" for name, size in shown.items())
        lines = [
            f"predicted peak {self.peak / GB:.3g} GB in {self.phase}: {listed}",
            f"lower it with {', '.join(self.knobs)}",
        ]
        if self.device is not None and self.peak > self.device:
            over = (self.peak - self.device) / GB
            lines.insert(1, f"{over:.3g} GB more than the device's {self.device / GB:.3g} GB")
        return "\n".join(lines)


def predict(
    student: PreTrainedModel,
    teachers: Sequence[PreTrainedModel],
    sizes: Sizes,
    *,
    device: int | None = None,
) -> Memory:
    """The largest sum over the phases of a step, each with what is alive in it: prompts encoded,
    answers written, views scored, gradients taken, weights updated."""
    always = state(student, teachers, sizes.optimizer_states)
    between = {name: size for name, size in always.items() if name != "gradients"}
    whole = kept(student, teachers, sizes)
    phases = {
        "the rollout's prompts": between | encoding(student, sizes),
        "the rollout": between | rollout(student, sizes),
        "scoring": between | scoring([student, *teachers], sizes) | whole,
        "the update": always | update(student, sizes) | whole,
        "the optimizer's step": always | whole | step(student, sizes.optimizer_states),
    }
    return Memory(phases, device)


def patches_of(model: PreTrainedModel, rendering: Rendering) -> int:
    """What the vision tower reads of the prompt that shows it most, class tokens included."""
    return max(patches_in(model, images.get("pixel_values")) for images in rendering.images)


def patches_in(model: PreTrainedModel, pixels: Tensor | None) -> int:
    if pixels is None:
        return 0
    if pixels.dim() == 2:  # one row per patch already
        return len(pixels)
    height, width = pixels.shape[-2:]
    size = model.config.vision_config.patch_size
    side = size if isinstance(size, int) else size[0]
    tiles = pixels.shape[:-3].numel()
    return tiles * ((height // side) * (width // side) + 1)
