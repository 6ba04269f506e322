"""Features of a frozen tower in the place of pixels: the same hidden states and gradients, and the
tower at work once per image."""

import pytest
import torch
from twins import VISION

from gndpo.encodings import Encodings, remembering
from gndpo.models.features import learns_to_see
from gndpo.models.parts import train_only

G, T = 2, 4


@pytest.fixture
def passes(monkeypatch):
    """passes(policy): how often its tower was at work since."""

    def count(policy):
        calls = []
        inner = policy.backbone.get_image_features
        monkeypatch.setattr(
            policy.backbone,
            "get_image_features",
            lambda *args, **given: calls.append(1) or inner(*args, **given),
        )
        return calls

    return count


def gradients(policy, rendering, how):
    ids_BT = torch.randint(4, 30, (len(rendering.ids_PL) * G, T), generator=torch.manual_seed(3))
    policy.zero_grad()
    hidden_BTH = getattr(policy, how)(rendering, ids_BT)
    hidden_BTH.square().sum().backward()
    return hidden_BTH.detach(), {
        name: p.grad for name, p in policy.named_parameters() if p.grad is not None
    }


@pytest.mark.parametrize("family", VISION, indirect=True)
@pytest.mark.parametrize("how", ["hidden", "packed"])
def test_features_say_what_pixels_say(family, passes, how):
    """Prompts with no, one and two images; all of them, then some in another order, then one."""
    policy, prompts = family.policy(), family.prompts()
    train_only(policy.model, ["language"])
    rendering, calls = prompts.renderings["image"], passes(policy)
    parts = [rendering, *(rendering.select(torch.tensor(i)) for i in ([2, 0], [1], [0, 1]))]
    expected = [gradients(policy, part, how) for part in parts]
    assert len(calls) == 3  # one part has no image
    with remembering(Encodings(policy, prompts, whole=False), []):
        for part, (hidden_BTH, theirs) in zip(parts, expected, strict=True):
            got, ours = gradients(policy, part, how)
            torch.testing.assert_close(got, hidden_BTH, rtol=0, atol=1e-12)
            assert ours.keys() == theirs.keys()
            for name, gradient in theirs.items():
                torch.testing.assert_close(ours[name], gradient, rtol=0, atol=1e-9)
    assert len(calls) == 4


@pytest.mark.parametrize("family", ["internvl"], indirect=True)
@pytest.mark.parametrize("parts", [["vision"], ["projector", "language"]])
def test_a_tower_that_learns_sees_pixels(family, passes, parts):
    policy, prompts = family.policy(), family.prompts()
    train_only(policy.model, parts)
    assert learns_to_see(policy.model)
    calls = passes(policy)
    with remembering(Encodings(policy, prompts, whole=False), []):
        for _ in range(2):
            gradients(policy, prompts.renderings["image"], "hidden")
    assert len(calls) == 2
