"""Scores over several rows: DynaMath's worst case, We-Math's strict and loose."""

import pytest

from gndpo.benchmarks.answer_file import Record
from gndpo.benchmarks.special_scores import we_math, worst_case
from gndpo.errors import UserError


def record(**fields: str) -> Record:
    return {
        "index": 0,
        "row": "test/0",
        "prompt": "",
        "answer": "",
        "choices": [],
        "kind": "",
        "fields": fields,
        "answers": [],
    }


def test_the_worst_variant_counts() -> None:
    records = [record(id=x) for x in ("a", "b", "a", "b", "c")]
    assert worst_case(records, [1, 1, 1, 0, 1], group="id") == {"worst": pytest.approx(2 / 3)}


@pytest.mark.parametrize(
    ("steps", "whole", "strict", "loose"),
    [
        ((1, 1), 1, 1.0, 1.0),  # mastered
        ((1, 0), 1, 0.0, 1.0),  # rote memorization if strict
        ((0, 0), 1, 0.0, 0.0),  # rote memorization
        ((1, 1), 0, 0.5, 0.5),  # inadequate generalization
        ((1, 0), 0, 0.0, 0.0),  # insufficient knowledge
        ((1, 1, 1), 1, 1.0, 1.0),
        ((0, 0, 1), 1, 0.0, 1.0),
        ((1, 1, 1), 0, 0.5, 0.5),
    ],
)
def test_we_math_of_one_problem(
    steps: tuple[int, ...], whole: int, strict: float, loose: float
) -> None:
    n = len(steps)
    keys = [*(f"{n}steps_{i + 1}" for i in range(n)), f"{n}steps_multi"]
    records = [record(ID="7", key=key) for key in keys]
    found = we_math(records, [*steps, whole], group="ID", key="key")
    assert found == {"strict": strict, "loose": loose}


def test_we_math_is_a_mean_over_whole_problems() -> None:
    records = [record(ID="1", key=f"2steps_{x}") for x in ("1", "2", "multi")]
    records += [record(ID="2", key=f"2steps_{x}") for x in ("1", "2", "multi")]
    records += [record(ID="3", key="2steps_1")]  # the rest of it is missing
    found = we_math(records, [1, 1, 1, 1, 1, 0, 1], group="ID", key="key")
    assert found == {"strict": 0.75, "loose": 0.75}
    assert we_math(records[:1], [1], group="ID", key="key") == {}


def test_a_missing_field_is_named() -> None:
    sentence = (
        r"row test/0: benchmark\.special names the field 'id', the row has key; add it to "
        r"benchmark\.rows\.fields\.further$"
    )
    with pytest.raises(UserError, match=sentence):
        worst_case([record(key="x")], [1], group="id")
