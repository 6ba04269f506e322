"""Small data sets on disk, and nothing outside the test's own folder."""

import io
import json

import datasets
import pytest
from datasets import Dataset, Features, List, Value
from datasets import Image as Picture
from PIL import Image

from gndpo.data.filters import Filters
from gndpo.data.reader import Fields, Reader
from gndpo.data.table import TableRows

COLUMNS = {
    "images": None,
    "problem": "problem",
    "answer": "answer",
    "choices": None,
    "solution": None,
    "kind": None,
    "further": {},
}
LIMITS = {
    "max_characters": None,
    "min_side": None,
    "max_side": None,
    "max_pixels": None,
    "corrupt": "refuse",
}


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
    datasets.disable_progress_bars()


def picture(color, size=(8, 6), mode="RGB"):
    return Image.new(mode, size, color)


def png(image):
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


@pytest.fixture
def draw():
    return picture


@pytest.fixture
def encode():
    return png


@pytest.fixture
def reader(tmp_path):
    """reader(images="image", template=...): fields and knobs mixed, the rest as in conf."""

    def make(**changes):
        columns = {name: changes.pop(name, value) for name, value in COLUMNS.items()}
        knobs = {
            "folder": tmp_path,
            "replace": [],
            "answer_pattern": None,
            "answer_form": "letter",
            "template": "{problem}",
        }
        return Reader(Fields(**columns), **(knobs | changes))

    return make


@pytest.fixture
def rows():
    """rows(split, source, seed=0, ...): columns, limits and knobs mixed."""

    def make(split, source, seed=0, **changes):
        columns = {name: changes.pop(name, value) for name, value in COLUMNS.items()}
        limits = {name: changes.pop(name, value) for name, value in LIMITS.items()}
        knobs = {
            "config": None,
            "splits": {"train": "train", "validation": "train[:3]", "test": "test"},
            "keep": {},
            "distinct": False,
            "cut_seed": None,
            "streaming": False,
            "shuffle": True,
            "buffer": 4,
            "folder": None,
            "replace": [],
            "answer_pattern": None,
            "answer_form": "letter",
            "template": "{problem}",
        }
        return TableRows(
            split,
            seed,
            source=None if source is None else str(source),
            fields=Fields(**columns),
            filters=Filters(**limits),
            **(knobs | changes),
        )

    return make


@pytest.fixture
def sums(tmp_path):
    """Ten rows without images."""
    file = tmp_path / "sums.jsonl"
    rows = [{"problem": f"{i} + 1?", "answer": i + 1, "level": i % 2} for i in range(10)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture
def pictures(tmp_path, draw, encode):
    """Six rows with 0, 1 or 2 images: of 8x6, of 40x30, broken, none, two, of 8x6."""
    small, large = encode(draw("red")), encode(draw("blue", size=(40, 30)))
    images = [[small], [large], [large[:60]], [], [small, large], [small]]
    table = Dataset.from_dict(
        {
            "images": [[{"bytes": x, "path": None} for x in row] for row in images],
            "problem": [f"{i}?" for i in range(6)],
            "answer": ["a", "b", "c", "d", "e", ""],
        },
        features=Features(
            {"images": List(Picture()), "problem": Value("string"), "answer": Value("string")}
        ),
    )
    table.to_parquet(tmp_path / "pictures.parquet")
    return tmp_path / "pictures.parquet"
