"""Lists of names stay short."""

import pytest

from gndpo.report.words import listed


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ([], ""),
        (list("abcde"), "a, b, c, d, e"),
        (list("abcdef"), "a, b, c, d, e and 1 other"),
        ([*"abcde", *"x" * 12], "a, b, c, d, e and 12 others"),
    ],
)
def test_five_are_named_and_the_rest_is_counted(names, text):
    assert listed(names) == text
