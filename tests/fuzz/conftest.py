"""Few cases in `make test`, ten thousand in `make test-slow`; the same ones every time."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import SearchStrategy

from gndpo.errors import UserError

Fuzz = Callable[[SearchStrategy[Any], Callable[[Any], None]], None]


def sizes(few: int, many: int) -> list[Any]:
    return [pytest.param(few, id="few"), pytest.param(many, id="many", marks=pytest.mark.slow)]


def of_size(cases: int) -> Fuzz:
    def run(strategy: SearchStrategy[Any], holds: Callable[[Any], None]) -> None:
        checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]
        limits = settings(
            max_examples=cases, suppress_health_check=checks, phases=[Phase.generate]
        )  # shrinking a whole configuration takes minutes
        limits(given(strategy)(lambda case: holds(case)))()

    return run


@pytest.fixture(params=sizes(60, 2000))
def fuzz(request: pytest.FixtureRequest) -> Fuzz:
    """fuzz(cases, holds): `holds` of every case."""
    return of_size(request.param)


@pytest.fixture(params=sizes(10, 500))
def fuzz_some(request: pytest.FixtureRequest) -> Fuzz:
    """For what takes tenths of a second."""
    return of_size(request.param)


@pytest.fixture(params=sizes(2, 100))
def fuzz_less(request: pytest.FixtureRequest) -> Fuzz:
    """For what takes seconds."""
    return of_size(request.param)


def sentence_or(function: Callable[..., Any], *arguments: Any) -> Any:
    """What the function gives, or the one sentence with which it refuses."""
    try:
        return function(*arguments)
    except UserError as error:
        return one_line(str(error))


def one_line(text: str) -> str:
    assert text
    assert "\n" not in text, text
    return text
