"""Learning rate by hand: a rise over the warm-up, then each decay."""

import pytest

from gndpo.errors import UserError
from gndpo.schedules import Schedule


@pytest.mark.parametrize(
    ("decay", "factors"),
    [
        ("linear", [1 / 3, 2 / 3, 1.0, 0.75, 0.5, 0.25]),
        ("cosine", [1 / 3, 2 / 3, 1.0, 0.8535534, 0.5, 0.1464466]),
        ("constant", [1 / 3, 2 / 3, 1.0, 1.0, 1.0, 1.0]),
    ],
)
def test_warmup_then_decay(decay: str, factors: list[float]) -> None:
    schedule = Schedule(warmup=2, decay=decay)
    assert [schedule.factor(step, 6) for step in range(6)] == pytest.approx(factors)


def test_an_unknown_decay_is_refused() -> None:
    with pytest.raises(UserError, match="choose one of linear, cosine, constant"):
        Schedule(warmup=0, decay="exp")
