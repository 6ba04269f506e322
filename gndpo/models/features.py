"""What a frozen vision tower makes of images, in the place of their pixels."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from gndpo.models.parts import part_of
from gndpo.prompts import Rendering

PIXELS = "pixel_values"
WHOLE, LISTED, DEEP = "features", "features_by_image", "deepstack_"
"""Names of features: families take them as one tensor (InternVL, Gemma 3) or image by image (LLaVA,
LLaVA-NeXT, Qwen); Qwen3-VL has more of them for its first layers."""


def learns_to_see(model: torch.nn.Module) -> bool:
    """Whether tower or projector train: then features change with every update, and have
    gradients."""
    return any(
        p.requires_grad and part_of(name) in ("vision", "projector")
        for name, p in model.named_parameters()
    )


@torch.no_grad()
def features(backbone: Any, rendering: Rendering, image_id: int) -> list[dict[str, Tensor]]:
    """Prompt by prompt what the tower and its projector give, [n, H] each, with all that is known
    of the images besides pixels."""
    vision = {name: x for name, x in rendering.vision.items() if name != "pixel_attention_mask"}
    found = backbone.get_image_features(**vision, return_dict=True)
    name = WHOLE if isinstance(found.pooler_output, Tensor) else LISTED
    layers = enumerate(getattr(found, "deepstack_features", None) or ())
    parts = {name: found.pooler_output, **{f"{DEEP}{i}": x for i, x in layers}}
    count_P = (rendering.ids_PL == image_id).sum(-1).tolist()
    shares = {
        name: torch.cat([image.flatten(0, -2) for image in x]).split(count_P)  # type: ignore[no-untyped-call]
        for name, x in parts.items()
    }
    return [
        {name: x for name, x in own.items() if name != PIXELS}
        | {name: share[i] for name, share in shares.items()}
        for i, own in enumerate(rendering.images)
    ]


def taken(vision: Mapping[str, Tensor]) -> dict[str, Any]:
    """What a backbone takes of images: pixels, or features where they are known."""
    names = [name for name in (WHOLE, LISTED) if name in vision]
    if not names:
        return dict(vision)
    x = vision[names[0]]
    layers = [[vision[name]] for name in sorted(vision) if name.startswith(DEEP)]
    output = SimpleNamespace(
        pooler_output=x if names[0] == WHOLE else [x], deepstack_features=layers
    )
    return {"mm_encoder_outputs": {"image": output}}
