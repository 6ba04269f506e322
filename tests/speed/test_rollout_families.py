"""Faster ways of writing in families whose layers slide, whose positions are a grid, whose heads
share keys."""

import pytest
import torch
from twins import write as write_checkpoint

from gndpo.reading import Speed
from gndpo.rng import uniform
from gndpo.rollout import generate
from tests.models.conftest import Family

T = 24  # longer than every window


@pytest.fixture(scope="module", params=["gemma3", "qwen2_5_vl", "text_qwen3"])
def policy_and_prompts(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("family") / request.param
    family = Family(request.param, write_checkpoint(request.param, folder, seed=0), folder)
    return family.policy(), family.prompts().renderings["image"]


@pytest.mark.parametrize("prompts", [slice(0, 3), slice(2, 3)], ids=["padded", "alone"])
@pytest.mark.parametrize(
    "speed", [Speed(compact=0.9, grow=True), Speed(compile=True)], ids=["grow", "static"]
)
def test_faster_answers_are_the_same(policy_and_prompts, speed, prompts):
    policy, rendering = policy_and_prompts
    rendering = rendering.select(prompts)
    draws = torch.from_numpy(uniform(1, "tokens", 0, range(2 * len(rendering.images)), T))
    options = {"group": 2, "max_tokens": T, "uniform_BT": draws, "keep_hidden": True}
    expected = generate(policy, rendering, **options)
    with torch.compiler.set_stance("force_eager"):
        got = generate(policy, rendering, speed=speed, **options)
    assert torch.equal(got.ids_BT, expected.ids_BT)
    for name in ("logp_BT", "hidden_BTH"):
        torch.testing.assert_close(getattr(got, name), getattr(expected, name), atol=1e-9, rtol=0)
