"""Every preset reads a small copy of its data set, with the true columns and types: one key, its
source, is replaced."""

import pytest
from datasets import Dataset
from hydra import compose, initialize_config_dir

from gndpo.build import build, config_folder
from gndpo.errors import UserError

THINK = (
    " You FIRST think about the reasoning process as an internal monologue and then provide the "
    "final answer. The reasoning process MUST BE enclosed within <think> </think> tags. The final "
    "answer MUST BE put in \\boxed{}."
)
BOXED = "\n\nPlease reason step by step, and put your final answer within \\boxed{}."
TABLES = ("local", "vision_sr1_47k", "virl39k", "geoqa", "dapo_math_17k")
"""Presets whose splits are all cut from one."""


def shipped(name, source, *overrides):
    with initialize_config_dir(config_folder(), version_base="1.3"):
        cfg = compose(
            "train",
            overrides=[
                f"data={name}",
                f"data.rows.source='{source}'",
                "cache_dir=/none",
                *overrides,
            ],
        )
    return build(cfg.data, "data")


def place(row):
    return int(row["name"].rpartition("/")[2])


def test_geometry3k(geometry3k):
    data = shipped("geometry3k", geometry3k)
    assert {split: len(data.evaluation_rows(split, 9)) for split in ("validation", "test")} == {
        "validation": 3,
        "test": 3,
    }
    row = data.evaluation_rows("test", 2)[1]
    assert row | {"images": []} == {
        "name": f"{geometry3k.name}/test/1",
        "images": [],
        "problem": f"<image>Find x in test.{THINK}",
        "answer": "1 \\sqrt { 2 }",
        "choices": [],
        "solution": "",
        "kind": "",
        "fields": {},
    }
    assert [(x.mode, x.size, x.getpixel((0, 0))) for x in row["images"]] == [
        ("RGB", (8, 6), (255, 0, 0))
    ]
    assert "in train." in data.rows("train", 0)[0]["problem"]


def test_vision_sr1_47k(vision_sr1_47k):
    row = shipped("vision_sr1_47k", vision_sr1_47k).rows("train", 0)[3]
    assert row["problem"] == f"What is {place(row)}?"
    assert row["answer"] == str(place(row))
    assert len(row["images"]) == 1


def test_virl39k(virl39k):
    made = shipped("virl39k", virl39k).rows("train", 0)
    for i in range(6):
        row = made[i]
        k = place(row)
        assert row["answer"] == f"\\frac{{{k}}}{{2}}"
        assert row["problem"] == "<image>" * (k % 3) + f"What is half of {k}?{THINK}"
        assert len(row["images"]) == k % 3
        assert row["kind"] == "Spatial Reasoning"
        assert row["fields"] == {"source": "MM-Math", "pass_rate": "0.5"}


def test_virl39k_without_its_images_says_which_is_missing(virl39k):
    (virl39k.parent / "images" / "a.jpg").unlink()
    with pytest.raises(
        UserError, match=r"^39Krelease/train/\d+: there is no image file .*/images/a"
    ):
        shipped("virl39k", virl39k, "data.rows.filters.min_side=1").rows("train", 0)


def test_geoqa(geoqa):
    row = shipped("geoqa", geoqa).rows("train", 0)[0]
    k = place(row)
    assert (row["problem"], row["answer"]) == (f"Angle {k}?{THINK}", f"{k}°")


def test_mmk12(mmk12):
    data = shipped("mmk12", mmk12)
    assert [row["answer"] for row in data.evaluation_rows("test", 9)] == ["A"] * 4
    (row, *_) = data.evaluation_rows("validation", 9)
    assert row["problem"] == f"train {place(row)}?{THINK}"
    assert (row["answer"], row["kind"], len(row["images"])) == ("12", "math", 1)


def test_openthoughts3_is_streamed_and_asks_each_problem_once(openthoughts3):
    data = shipped("openthoughts3", openthoughts3)
    found = [row["problem"] for row in data.evaluation_rows("validation", None)]
    assert found == [f"math {i}?{BOXED}" for i in range(512)]
    made = data.rows("train", 0)
    trained = [made[i] for i in range(12)]
    for epoch in (trained[:6], trained[6:]):
        assert {row["problem"] for row in epoch} == {f"math {i}?{BOXED}" for i in range(1024, 1030)}
    row = trained[0]
    number = row["problem"].split()[1].partition("?")[0]
    assert (row["answer"], row["kind"]) == ("", "math")
    assert row["solution"] == f"<think>0</think> \\boxed{{{number}}}"


def test_dapo_math_17k_has_each_problem_on_one_side_only(dapo_math_17k):
    data = shipped("dapo_math_17k", dapo_math_17k)
    made = data.rows("train", 0)
    row = made[0]
    assert row["problem"] == f"Let n = {place(row)}.\n\nWhat is n?{BOXED}"
    assert (row["answer"], row["kind"], row["images"]) == (str(place(row)), "MATH", [])
    trained = {made[i]["problem"] for i in range(len(made))}
    held = {row["problem"] for s in ("validation", "test") for row in data.evaluation_rows(s, None)}
    assert (len(made), len(trained), len(held), trained & held) == (94, 94, 6, set())


@pytest.mark.parametrize("name", TABLES)
def test_splits_of_one_table_share_no_row(name, request):
    data = shipped(name, request.getfixturevalue(name))
    made = data.rows("train", 0)
    trained = {made[i]["name"] for i in range(len(made))}
    held = [
        row["name"] for split in ("validation", "test") for row in data.evaluation_rows(split, None)
    ]
    assert len(held) == len(set(held)) >= 2
    assert len(trained) == len(made)
    assert len(trained | set(held)) == 100


def test_what_a_user_types(tmp_path):
    rows = [{"question": f"{i} + 1?", "answer": i + 1, "figure": None} for i in range(100)]
    Dataset.from_list(rows).to_json(tmp_path / "mine.jsonl")
    data = shipped(
        "local", tmp_path, "data.rows.fields.problem=question", "data.rows.fields.images=figure"
    )
    row = data.rows("train", 0)[0]
    assert (row["problem"], row["answer"]) == (f"{place(row)} + 1?", str(place(row) + 1))
    assert row["images"] == []


def test_a_column_of_the_command_line_chooses_rows(geoqa):
    data = shipped(
        "geoqa", geoqa, "+data.rows.keep.problem=['Angle 7?']", "data.rows.splits.train=train"
    )
    made = data.rows("train", 0)
    assert (len(made), made[0]["answer"]) == (1, "7°")


def test_a_misspelt_key_is_named():
    with pytest.raises(
        UserError, match=r"data.rows.fields=Fields: unknown key 'image' \(Fields take"
    ):
        shipped("local", "x", "+data.rows.fields.image=x")


def test_a_source_must_be_named():
    with pytest.raises(UserError, match=r"data.rows.source is not set"):
        shipped("local", "x", "data.rows.source=null").rows("train", 0)
