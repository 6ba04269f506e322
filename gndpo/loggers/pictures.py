"""Images as text, small enough for a log."""

import base64
import io

from PIL import Image

LARGEST = 224  # pixels a side
HEAD = "data:image/png;base64,"


def encoded(image: Image.Image) -> str:
    """A PNG as a data address, shrunk to at most LARGEST pixels a side."""
    small = image.copy()
    small.thumbnail((LARGEST, LARGEST))
    buffer = io.BytesIO()
    small.save(buffer, "PNG", optimize=True)
    return HEAD + base64.b64encode(buffer.getvalue()).decode()


def decoded(address: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(address.removeprefix(HEAD))))
