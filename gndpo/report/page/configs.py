"""Configurations as a table of codes: a key, its distinct values, and which run has which."""

import json
from collections.abc import Sequence
from typing import Any

from gndpo.report.arms import METHOD, compared
from gndpo.report.load import Run

ABSENT = "absent"


def configs(runs: Sequence[Run]) -> dict[str, Any]:
    """Keys by number of values, most first; those in which runs should not differ; those that a
    preset of a method changes on purpose."""
    keys = sorted({key for run in runs for key in run.config})
    columns = {key: [_written(run.config.get(key, ABSENT)) for run in runs] for key in keys}
    values = {key: sorted(set(column)) for key, column in columns.items()}
    keys.sort(key=lambda key: (len(values[key]) == 1, key))
    return {
        "keys": keys,
        "values": [values[key] for key in keys],
        "codes": [_codes(columns[key], values[key]) for key in keys],
        "compared": [key for key in keys if compared(key)],
        "method": sorted(METHOD),
    }


def _written(value: Any) -> str:
    """As it is typed: null and true, not None and True."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _codes(column: Sequence[str], values: Sequence[str]) -> list[int]:
    """The place of each run's value; [] where there is one value only."""
    place = {value: index for index, value in enumerate(values)}
    return [place[value] for value in column] if len(values) > 1 else []
