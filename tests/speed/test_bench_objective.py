"""TRL's loss and gradient are ours, from the same prompts and answers."""

from dataclasses import replace

import pytest

pytest.importorskip("trl")

from benchmarks import pairs
from benchmarks.objective import CASE, compared


@pytest.mark.parametrize("family", pairs.IMAGES)
def test_both_sides_minimize_the_same(family: str) -> None:
    found = compared(replace(CASE, family=family))
    assert found["ours"] > 0.1
    assert found["loss"] < 1e-4
    assert found["gradient"] < 1e-4
