"""Numbers as compact text inside a page."""

import base64
import gzip
import json
import math
from collections.abc import Mapping
from typing import Any

DIGITS = 4  # significant ones


def plain(value: Any) -> Any:
    """The same structure for JSON: floats with 4 significant digits, null where not finite."""
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, float):
        return _short(value) if math.isfinite(value) else None
    return value


def _short(value: float) -> float | int:
    rounded = float(f"{value:.{DIGITS}g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) < 1e15 else rounded


def as_json(value: Any) -> str:
    """JSON that no `<script>` element can be ended by."""
    text = json.dumps(plain(value), allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def packed(text: str) -> str:
    """The text, compressed with gzip (the same bytes every time), as base64."""
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()
