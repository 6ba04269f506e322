"""Rows as a parquet file with the columns of Geometry3K, besides solution and kind."""

import io
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from datasets import Dataset, Features, Image, List, Value
from PIL import Image as PIL

from gndpo.data.rows import Row

FEATURES = Features(
    {
        "images": List(Image()),
        "problem": Value("string"),
        "answer": Value("string"),
        "solution": Value("string"),
        "kind": Value("string"),
    }
)


def export(rows: Iterable[Row], path: Path) -> None:
    """Write beside and rename, so that a reader never sees half a file."""
    records = [{**row, "images": [encoded(image) for image in row["images"]]} for row in rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".part")
    Dataset.from_list(records, features=FEATURES).to_parquet(beside)
    os.replace(beside, path)


def encoded(image: PIL.Image) -> dict[str, Any]:
    """PNG: lossless, so the pixels come back as they were."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return {"bytes": buffer.getvalue(), "path": None}
