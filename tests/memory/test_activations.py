"""What layers save for the backward pass, against the tensors that autograd saves."""

import pytest
import torch
from meters import (
    FAMILIES,
    answers_of,
    near,
    policy_of,
    prompts_of,
    saved,
    sizes,
    text_model,
)
from PIL import Image
from twins import VISION, write

from gndpo.memory import footprint
from gndpo.memory.activations import language_layer, layers_of
from gndpo.models.load import load_model, load_processor
from gndpo.models.parts import train_only
from gndpo.prompts import make_prompts


def passes(model, P, G, L, T):
    """Prediction for the layers and the last norm of `Policy.hidden`."""
    layer, count = language_layer(model), len(layers_of(model, "language"))
    shapes = [(P, L, L), (P * G, T - 1, L + T - 1)]
    kept = sum(layer.saved(*shape) + layer.pairs(*shape) for shape in shapes)
    width = model.config.get_text_config().hidden_size
    kept = count * kept - P * (L - 1) * layer.feed
    return kept + (P * L + P * G * (T - 1)) * width * (4 + model.dtype.itemsize)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", FAMILIES)
def test_what_layers_save_is_predicted_within_5_percent(family, dtype, attention):
    for P, G, L, T in ((2, 3, 40, 33), (2, 2, 8, 90), (2, 4, 100, 20)):
        for shape in ({}, {"hidden_size": 96, "num_key_value_heads": 1, "num_hidden_layers": 2}):
            model = text_model(family, dtype, attention, **shape)
            with saved(model) as total:
                policy_of(model).hidden(prompts_of(P, L), answers_of(P, G, T))
            assert near(passes(model, P, G, L, T), total[0], 0.05)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_low_rank_matrices_save_inputs_of_frozen_layers(dtype):
    peft = pytest.importorskip("peft")
    model = text_model(dtype=dtype)
    targets = r".*\.(q|k|v|o|gate|up|down)_proj"
    model.add_adapter(peft.LoraConfig(r=4, target_modules=targets))
    for lora in (dtype, torch.float32):  # peft's own adapters are float32
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.data = parameter.data.to(lora)
        with saved(model) as total:
            policy_of(model).hidden(prompts_of(2, 40), answers_of(2, 3, 33))
        assert near(passes(model, 2, 3, 40, 33), total[0], 0.1)


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """Model and rendering of each vision-language family."""
    found = {}
    for family in VISION:
        folder = write(family, tmp_path_factory.mktemp(family), layers=3, hidden=64)
        rows = [
            {
                "problem": problem,
                "answer": "3",
                "solution": "",
                "kind": "",
                "images": [Image.new("RGB", (64, 64), (90, 10, 40))],
                "fields": {},
            }
            for problem in ("How many sides are there in this picture?", "How many?")
        ]
        prompts = make_prompts(rows, load_processor(folder))
        found[family] = load_model(folder, torch.bfloat16), prompts.renderings["image"]
    return found


def patches_of(model, pixels) -> int:
    """Per prompt, the class token counted."""
    config = model.config.vision_config
    if pixels.dim() == 2:  # Qwen: a row per patch
        return len(pixels) // 2
    side = config.patch_size[0] if isinstance(config.patch_size, list) else config.patch_size
    tiles = pixels.shape[:-3].numel() // 2
    return tiles * ((pixels.shape[-1] // side) ** 2 + 1)


@pytest.mark.parametrize("family", VISION)
def test_a_trained_vision_tower_is_predicted_within_25_percent_and_a_frozen_one_saves_nothing(
    seen, family
):
    model, rendering = seen[family]
    P, L = rendering.ids_PL.shape
    G, T = 3, 9
    patches = patches_of(model, rendering.vision["pixel_values"])
    measured = {}
    for parts in (["language"], ["vision", "projector", "language"]):
        train_only(model, parts)
        with saved(model) as total:
            policy_of(model).hidden(rendering, answers_of(P, G, T))
        tower = footprint.vision(model, sizes(P, G, L, T, patches=patches))
        assert (tower > 0) == ("vision" in parts)
        measured[parts[0]] = total[0]
        bound = 0.25 if "vision" in parts else 0.05
        assert near(passes(model, P, G, L, T) + tower, total[0], bound)
    assert measured["vision"] > 1.05 * measured["language"]
