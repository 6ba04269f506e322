"""A step's prompts are encoded once: for the answers, the scores and the first update."""

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager

import torch

from gndpo.policy import Policy, Prefix
from gndpo.prompts import Prompts, Rendering


class Encodings:
    """What one policy has read of the prompts, while its weights stay as they are. trained: the
    renderings through which the update will send gradients."""

    def __init__(self, policy: Policy, prompts: Prompts, trained: Collection[str] = ()) -> None:
        self.policy, self.prompts, self.trained = policy, prompts, trained
        self.kept: dict[str, Prefix] = {}

    def __call__(self, rendering: Rendering) -> Prefix:
        """The prompts of a whole step from memory, a part of them read anew."""
        renderings = self.prompts.renderings
        names = [name for name in renderings if renderings[name] is rendering]
        if not names:
            return self.policy.prefix(rendering)
        known = self.kept.get(names[0])
        if known is None or (torch.is_grad_enabled() and not known.last_BH.requires_grad):
            with torch.set_grad_enabled(torch.is_grad_enabled() or names[0] in self.trained):
                known = self.kept[names[0]] = self.policy.prefix(rendering)
        return known.shared()


@contextmanager
def remembering(
    student: Policy, teachers: Iterable[Policy], prompts: Prompts, trained: Collection[str]
) -> Iterator[None]:
    """Within, nobody encodes a rendering of all prompts twice."""
    encodings = [Encodings(student, prompts, trained)]
    encodings += [Encodings(teacher, prompts) for teacher in teachers]
    for encoding in encodings:
        encoding.policy.memory = encoding
    try:
        yield
    finally:
        for encoding in encodings:
            encoding.policy.memory = None
