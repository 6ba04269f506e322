"""What a step reads of its prompts is read once: for the answers, the scores and the update."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from gndpo.models.features import features, learns_to_see
from gndpo.policy import Policy, Prefix
from gndpo.prompts import Prompts, Rendering


class Encodings:
    """What one policy has read of the prompts, while its weights stay as they are.

    whole: prompts of the whole step are kept. trained: renderings through which the update sends
    gradients. images: what a frozen tower sees is kept.
    """

    def __init__(
        self,
        policy: Policy,
        prompts: Prompts,
        *,
        whole: bool = True,
        trained: Collection[str] = (),
        images: bool = True,
    ) -> None:
        self.policy, self.prompts, self.trained = policy, prompts, trained
        self.whole, self.images = whole, images and not learns_to_see(policy.model)
        self.kept: dict[str, Prefix] = {}
        self.features: dict[int, Mapping[str, Tensor]] = {}

    def prefix(self, rendering: Rendering) -> Prefix:
        """All prompts from memory, a part of them read anew."""
        renderings = self.prompts.renderings
        names = [name for name in renderings if renderings[name] is rendering]
        if not (names and self.whole):
            return self.policy.prefix(rendering)
        known = self.kept.get(names[0])
        if known is None or (torch.is_grad_enabled() and not known.last_BH.requires_grad):
            with torch.set_grad_enabled(torch.is_grad_enabled() or names[0] in self.trained):
                known = self.kept[names[0]] = self.policy.prefix(rendering)
        return known.shared()

    def seen(self, rendering: Rendering) -> Rendering:
        """The rendering with features of a frozen tower in the place of pixels."""
        if not self.images:
            return rendering
        own = rendering.images
        new = [i for i in range(len(own)) if own[i] and id(own[i]) not in self.features]
        if new:
            part = rendering.select(torch.tensor(new))
            found = features(self.policy.backbone, part, self.policy.model.config.image_token_id)
            self.features |= {id(own[i]): x for i, x in zip(new, found, strict=True)}
        return replace(rendering, images=tuple(self.features.get(id(x), x) for x in own))


@contextmanager
def remembering(student: Encodings, teachers: Iterable[Encodings]) -> Iterator[None]:
    """Within, policies remember what they have read."""
    encodings = [student, *teachers]
    for encoding in encodings:
        encoding.policy.memory = encoding
    try:
        yield
    finally:
        for encoding in encodings:
            encoding.policy.memory = None
