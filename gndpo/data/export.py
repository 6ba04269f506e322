"""Rows as a parquet file: the columns of Geometry3K, choices, solution, kind and one per field."""

import io
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from datasets import Dataset, Features, Image, List, Value
from PIL import Image as PIL

from gndpo.data.rows import Row

COLUMNS = {
    "images": List(Image()),
    "problem": Value("string"),
    "answer": Value("string"),
    "choices": List(Value("string")),
    "solution": Value("string"),
    "kind": Value("string"),
}


def export(rows: Iterable[Row], path: Path) -> None:
    """Write beside and rename, so that a reader never sees half a file."""
    records = [record(row) for row in rows]
    further = {name: Value("string") for name in records[0] if name not in COLUMNS}
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".part")
    Dataset.from_list(records, features=Features(COLUMNS | further)).to_parquet(beside)
    os.replace(beside, path)


def record(row: Row) -> dict[str, Any]:
    columns = {name: value for name, value in row.items() if name not in ("name", "fields")}
    return columns | row["fields"] | {"images": [encoded(image) for image in row["images"]]}


def encoded(image: PIL.Image) -> dict[str, Any]:
    """PNG: lossless, so the pixels come back as they were."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return {"bytes": buffer.getvalue(), "path": None}
