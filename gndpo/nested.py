"""Nested mappings as one level."""

from collections.abc import Iterator
from typing import Any


def flat(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """`{a: {b: 1}}` as `a.b, 1`; a list is one value, and so is an empty mapping."""
    if not isinstance(node, dict) or not node:
        yield path, node
        return
    for key, value in node.items():
        yield from flat(value, f"{path}.{key}" if path else str(key))
