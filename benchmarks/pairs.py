"""A student, a teacher and prompts of exact length on disk, as both sides read them: checkpoints in
their families' true format (`tests/twins`) and handwritten digits."""

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.cases import Case
from gndpo.data.digits import handwriting
from gndpo.models.load import load_processor
from gndpo.models.processor import Processor
from gndpo.rng import generator

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from twins import BUILD
from twins.recipe import Recipe, Size

SEED = 0
Shape = tuple[int, int]
"""Height and width, pixels."""
TIMES = {"student": 1, "teacher": 2}
"""Layers and width, in those of the student."""
SPREAD = 0.05
"""Of the random weights: distributions that are neither uniform nor one-hot."""
SMALL, LARGE = 32, 224
"""Pixels of an image's side: of short prompts, and of the others."""
PLACE = 16
"""Pixels of the side that one placeholder stands for."""
LONG = 1000
"""From this length on an image has three tiles and an overview."""


def write(case: Case, folder: Path, steps: int) -> None:
    """folder/student, folder/teacher, folder/rows.jsonl with the prompts of `steps` steps."""
    for seed, which in enumerate(TIMES):
        made = recipe(case, which)
        made.write(folder / which, seed=seed, dtype=torch.float32, initializer_range=SPREAD)
        fill_vocabulary(folder / which, case.vocabulary)
    write_rows(case, folder, steps)


def recipe(case: Case, which: str) -> Recipe:
    """What the student, or the teacher, is made of."""
    times = TIMES[which]
    size = Size(times * case.layers, times * case.hidden, case.vocabulary)
    return IMAGES[case.family](BUILD[case.family](size), side(case))


def side(case: Case) -> int:
    """Pixels of a tile's side."""
    return LARGE if case.prompt >= LARGE else SMALL


def tiles(case: Case) -> int:
    """What an image is cut into: of a long one, three tiles and an overview."""
    return 4 if case.prompt >= LONG else 1


def features(side: int) -> int:
    """Placeholders of a tile."""
    return (side // PLACE) ** 2


def internvl(recipe: Recipe, side: int) -> Recipe:
    """Larger tiles; four patches of the twin's size are one placeholder."""
    recipe.config.vision_config.image_size = [side, side]
    recipe.config.image_seq_length = features(side)
    return with_files(
        recipe,
        processor={"image_seq_length": features(side)},
        pixels={"size": {"height": side, "width": side}},
    )


def llava(recipe: Recipe, side: int) -> Recipe:
    """A larger image; a patch is one placeholder."""
    vision = recipe.config.vision_config
    vision.image_size, vision.patch_size = side, PLACE
    recipe.config.image_seq_length = features(side)
    square = {"height": side, "width": side}
    return with_files(
        recipe,
        processor={"patch_size": PLACE},
        pixels={"size": {"shortest_edge": side}, "crop_size": square},
    )


def qwen2_5_vl(recipe: Recipe, side: int) -> Recipe:
    """Larger patches, of which four are one placeholder; a window has as many as the twin's."""
    vision = recipe.config.vision_config
    patch = PLACE // vision.spatial_merge_size
    vision.window_size *= patch // vision.patch_size
    vision.patch_size = patch
    low, high = SMALL**2, LARGE**2  # pixels: an image keeps its size
    size = {"shortest_edge": low, "longest_edge": high}
    pixels = {"patch_size": patch, "size": size, "min_pixels": low, "max_pixels": high}
    return with_files(recipe, processor={}, pixels=pixels)


IMAGES: Mapping[str, Callable[[Recipe, int], Recipe]] = {
    "internvl": internvl,
    "llava": llava,
    "qwen2_5_vl": qwen2_5_vl,
}


def with_files(recipe: Recipe, processor: Mapping[str, Any], pixels: Mapping[str, Any]) -> Recipe:
    """The recipe with other values in its two files on images."""
    changes = {"processor_config.json": processor, "preprocessor_config.json": pixels}
    files = {name: {**content, **changes.get(name, {})} for name, content in recipe.files.items()}
    return replace(recipe, files=files)


def fill_vocabulary(folder: Path, size: int) -> None:
    """A token for every row of the head, so that none is cut off."""
    file = folder / "tokenizer.json"
    content = json.loads(file.read_text())
    known = content["model"]["vocab"]
    known |= {token["content"]: token["id"] for token in content["added_tokens"]}
    known |= {f"<{i}>": i for i in range(len(known), size)}
    file.write_text(json.dumps(content))


def write_rows(case: Case, folder: Path, steps: int) -> None:
    """Prompts of L tokens each, image included."""
    shape = (side(case), side(case) * max(1, tiles(case) - 1))
    frame = prompt_tokens(load_processor(folder / "student"), "0", shape) - 1
    if frame >= case.prompt:
        raise ValueError(f"{case.name}: the image and its frame have {frame} tokens")
    write_prompts(folder, case.prompts * steps, case.prompt - frame, shape)


def prompt_tokens(processor: Processor, problem: str, shape: Shape) -> int:
    """Of a problem about one image."""
    encoded = processor.encode(processor.chat(problem, 1), [picture(0, shape)])
    return encoded["input_ids"].shape[1]


def write_prompts(folder: Path, count: int, digits: int, shape: Shape) -> None:
    """folder/rows.jsonl: every prompt has an image and a number of its own."""
    lines = []
    for i in range(count):
        picture(i, shape).save(folder / f"{i}.png")
        number = generator(SEED, "benchmark", i).integers(10, size=digits)
        row = {"images": [f"{i}.png"], "problem": "".join(map(str, number)), "answer": "0"}
        lines.append(json.dumps(row) + "\n")
    (folder / "rows.jsonl").write_text("".join(lines))


def picture(index: int, shape: Shape) -> Image.Image:
    """A digit of the i-th writing, as large as the image is."""
    ink = 255 * (1 - handwriting().images_N[index])
    height, width = shape
    return Image.fromarray(ink.astype(np.uint8)).convert("RGB").resize((width, height))
