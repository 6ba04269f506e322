"""Names in sentences, however many there are."""

from collections.abc import Sequence

MOST_NAMED = 5


def listed(names: Sequence[str], most: int = MOST_NAMED) -> str:
    """`a, b`, or `a, b, c, d, e and 12 others`."""
    rest = len(names) - most
    others = f" and {rest} other{'s' if rest > 1 else ''}" if rest > 0 else ""
    return ", ".join(names[:most]) + others
