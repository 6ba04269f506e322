"""Images as data hold them: encoded bytes, paths or base64, one or several to a row."""

import base64
import io
import re
from pathlib import Path
from typing import Any

import datasets
from PIL import Image, ImageOps

from gndpo.data.records import RowError
from gndpo.data.rows import MARKER
from gndpo.errors import UserError

NUMBERED = re.compile(r"<image ?(\d+)>")
BROKEN = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
"""What Pillow raises for bytes that are no image, or half of one."""


def flat(value: Any) -> list[Any]:
    """The images of a column: none, one, or a list of them; nulls and empty names are left out."""
    if isinstance(value, list):
        return [image for part in value for image in flat(part)]
    return [] if value in (None, "") else [value]


def opened(value: Any, folder: Path | None, row: str) -> Image.Image:
    """An image whose header is read: size known, pixels not yet decoded.

    value: encoded bytes; a dictionary of bytes or path; a string: with a dot the path of a file,
    relative to `folder`, otherwise base64 (a data URI may go before it).
    """
    if isinstance(value, dict):
        value = value.get("path") if value.get("bytes") is None else value["bytes"]
    try:
        if isinstance(value, bytes):
            return Image.open(io.BytesIO(value))
        if not isinstance(value, str):
            raise RowError(row, f"{value!r:.60} is no image", "something that is no image")
        if value.startswith("data:") or "." not in value:
            encoded = value.rpartition(",")[2]
            return Image.open(io.BytesIO(base64.b64decode(encoded, validate=True)))
        if "://" in value:
            remote: Image.Image = datasets.Image().decode_example({"path": value, "bytes": None})
            return remote
        return Image.open(io.BytesIO(located(value, folder, row).read_bytes()))
    except BROKEN as error:
        raise unreadable(row, error) from error


def located(path: str, folder: Path | None, row: str) -> Path:
    if folder is None and not Path(path).is_absolute():
        raise UserError(
            f"{row}: the image {path} is a relative path; say where it starts with "
            "data.rows.folder=<folder>"
        )
    file = Path(path) if folder is None else folder / path
    if not file.is_file():
        raise RowError(row, f"there is no image file {file}", "a missing image")
    return file


def decoded(value: Any, folder: Path | None, row: str) -> Image.Image:
    """RGB pixels, turned as the camera says; what is transparent becomes white (as qwen-vl-utils
    does), since black lines on nothing would vanish."""
    try:
        image = ImageOps.exif_transpose(opened(value, folder, row))
        if image.has_transparency_data:
            white = Image.new("RGBA", image.size, "white")
            white.alpha_composite(image.convert("RGBA"))
            image = white
        return image.convert("RGB")
    except BROKEN as error:
        raise unreadable(row, error) from error


def unreadable(row: str, error: Exception) -> RowError:
    return RowError(row, f"an image cannot be read ({error!s:.80})", "an image that is broken")


def placed(text: str, images: list[Any], row: str) -> tuple[str, list[Any]]:
    """Text and images with one marker per image, or without markers.

    Numbered markers (`<image 2>`) say which image stands there: images come in that order, one
    that is named twice is shown twice, those that are not named come first.
    """
    named = [int(number) for number in NUMBERED.findall(text)]
    if named and set(named) <= set(range(1, len(images) + 1)):
        others = [image for k, image in enumerate(images, 1) if k not in named]
        images = others + [images[k - 1] for k in named]
        text = MARKER * len(others) + NUMBERED.sub(MARKER, text)
    found = text.count(MARKER) + len(NUMBERED.findall(text))
    if found and found != len(images):
        raise RowError(
            row,
            f"its text has {found} image markers, the row has {len(images)} images",
            "markers without their images",
        )
    return text, images
