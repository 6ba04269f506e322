"""The twins that see: image processing, placeholders, and what is special about each counts."""

import json
import math

import pytest
import torch
from twins import VISION, write
from twins.reading import Twin, blank, noise


@pytest.fixture(scope="module", params=VISION)
def seeing(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    return Twin(request.param, write(request.param, folder))


IMAGE_PROCESSORS = {
    "internvl": "GotOcr2ImageProcessorPil",
    "qwen3_vl": "Qwen2VLImageProcessorPil",
    "qwen2_5_vl": "Qwen2VLImageProcessorPil",
    "gemma3": "Gemma3ImageProcessorPil",
    "llava": "CLIPImageProcessorPil",
    "llava_next": "LlavaNextImageProcessorPil",
}


def test_pillow_suffices(seeing):
    name = type(seeing.processor().image_processor).__name__
    assert name == IMAGE_PROCESSORS[seeing.family]


PLACEHOLDERS = {  # 32x32, 48x32, 64x64
    "internvl": (4, 28, 20),  # 4 per tile: 1; 3 x 2 and an overview; 2 x 2 and an overview
    "qwen3_vl": (16, 24, 25),  # one per 8x8 pixels, of at most 2048
    "qwen2_5_vl": (16, 24, 25),
    "gemma3": (16, 16, 16),
    "llava": (16, 16, 16),
    "llava_next": (24, 14, 24),  # 4 for the overview, the grid without its padding, ends of lines
}


@pytest.mark.parametrize(("index", "shape"), [(0, (32, 32)), (1, (48, 32)), (2, (64, 64))])
def test_as_many_placeholders_as_features(seeing, index, shape):
    model, inputs = seeing.model(), seeing.inputs(noise(*shape))
    placeholders = int((inputs["input_ids"] == model.config.image_token_id).sum())
    names = ("pixel_values", "image_grid_thw", "image_sizes")
    vision = {name: inputs[name] for name in names if name in inputs}
    with torch.no_grad():
        features = model.get_image_features(**vision).pooler_output
    width = model.config.get_text_config().hidden_size
    assert sum(feature.numel() // width for feature in features) == placeholders
    assert placeholders == PLACEHOLDERS[seeing.family][index]


def test_answers_are_far_from_uniform_and_the_image_counts(seeing):
    seen, unseen = seeing.logp(noise()), seeing.logp(blank())
    assert seen.max(-1).values.mean() > 1.5 - math.log(seen.shape[-1])
    assert (seen[-1] - unseen[-1]).abs().max() > 0.1


@pytest.mark.parametrize(
    ("family", "change"),
    [
        ("gemma3", {"drop": "token_type_ids"}),  # the image then looks back only
        ("gemma3", {"sliding_window": 4096}),
        ("qwen3_vl", {"in_line": True}),  # instead of time, row and column
        ("qwen2_5_vl", {"in_line": True}),
        ("qwen2_5_vl", {"vision_fullatt_block_indexes": [0, 1, 2]}),
        ("qwen3_vl", {"vision_deepstack_visual_indexes": [1, 0]}),
    ],
)
def test_what_makes_the_architecture_special_counts(tmp_path, family, change):
    twin = Twin(family, write(family, tmp_path))
    usual, without = twin.logp(noise()), twin.logp(noise(), **change)
    assert (usual[-1] - without[-1]).abs().max() > 1e-3


def test_the_folders_look_like_the_real_ones(seeing):
    names = {path.name for path in seeing.folder.iterdir()}
    always = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json"}
    assert always | {"preprocessor_config.json", "chat_template.jinja"} < names
    videos = "video_preprocessor_config.json" in names
    assert videos == (seeing.family in ("internvl", "qwen3_vl"))
    settings = json.loads((seeing.folder / "preprocessor_config.json").read_text())
    assert not settings["image_processor_type"].endswith("Pil")
