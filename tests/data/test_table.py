"""Rows of a data set by index: epochs, cuts, filters, and every refusal."""

import logging
import subprocess
import sys
from collections import Counter
from itertools import chain

import pytest
from datasets import Dataset, Features, Image, Value

from gndpo.data.filters import Filters
from gndpo.errors import UserError


def answers(rows, indices):
    return [rows[i]["answer"] for i in indices]


def test_a_row_of_a_file(rows, sums):
    assert rows("validation", sums)[2] == {
        "name": "sums/train/2",
        "images": [],
        "problem": "2 + 1?",
        "answer": "3",
        "choices": [],
        "solution": "",
        "kind": "",
        "fields": {},
    }


def test_evaluation_splits_end_and_keep_their_order(rows, sums):
    made = rows("validation", sums, seed=3)
    assert (len(made), made.endless) == (3, False)
    assert answers(made, range(3)) == ["1", "2", "3"]
    for index in (3, -1):
        with pytest.raises(IndexError, match="there are 3, counted from 0"):
            made[index]


def test_every_epoch_has_every_row_once_in_an_order_of_its_own(rows, sums):
    made = rows("train", sums)
    assert (len(made), made.endless) == (10, True)
    epochs = [answers(made, range(10 * e, 10 * e + 10)) for e in range(3)]
    assert all(Counter(epoch) == Counter(str(i) for i in range(1, 11)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_a_training_row_depends_on_seed_and_index_alone(rows, sums):
    made, again = rows("train", sums, seed=1), rows("train", sums, seed=1)
    backwards = [again[i] for i in reversed(range(25))]
    assert [made[i] for i in range(25)] == backwards[::-1]
    assert answers(made, range(10)) != answers(rows("train", sums, seed=2), range(10))


def test_without_shuffling_epochs_repeat(rows, sums):
    made = rows("train", sums, shuffle=False)
    assert answers(made, range(20)) == [str(i) for i in range(1, 11)] * 2


def test_cuts_of_one_split_share_no_row(rows, sums):
    splits = {"train": "train[4:]", "validation": "train[:2]", "test": "train[2:4]"}
    for cut_seed in (None, 0, 1):
        parts = {
            split: rows(split, sums, splits=splits, cut_seed=cut_seed, shuffle=False)
            for split in splits
        }
        found = {split: answers(part, range(len(part))) for split, part in parts.items()}
        assert sorted(map(int, chain(*found.values()))) == list(range(1, 11))
        in_order = found["validation"] + found["test"] == ["1", "2", "3", "4"]
        assert in_order == (cut_seed is None)
    names = {parts["test"][i]["name"]: parts["test"][i]["answer"] for i in range(2)}
    assert all(int(name.rpartition("/")[2]) + 1 == int(answer) for name, answer in names.items())


def test_a_column_chooses_rows_before_they_are_cut(rows, sums, caplog):
    with caplog.at_level(logging.INFO):
        made = rows("validation", sums, keep={"level": [1]})
    assert answers(made, range(3)) == ["2", "4", "6"]
    assert made[2]["name"] == "sums/train/5"
    assert caplog.messages == [
        "sums/train: 10 rows, 5 left out (5 for another level)",
        "sums validation (train[:3]): 3 rows",
    ]


def test_equal_problems_count_once_unless_their_images_differ(rows, tmp_path, draw, encode):
    red, blue = ({"bytes": encode(draw(color)), "path": None} for color in ("red", "blue"))
    Dataset.from_dict(
        {"image": [red, blue, red, red], "problem": ["x?", "x?", "x?", "y?"], "answer": [*"abcd"]},
        features=Features(
            {"image": Image(), "problem": Value("string"), "answer": Value("string")}
        ),
    ).to_parquet(tmp_path / "x.parquet")
    for streaming in (False, True):
        made = rows(
            "train",
            tmp_path / "x.parquet",
            images="image",
            distinct=True,
            shuffle=False,
            streaming=streaming,
        )
        assert answers(made, range(6)) == ["a", "b", "d"] * 2


def test_filters_say_what_they_leave_out(rows, pictures, caplog):
    limits = {"max_side": 39, "min_side": 7, "corrupt": "refuse"}
    with caplog.at_level(logging.INFO):
        made = rows("train", pictures, images="images", shuffle=False, **limits)
    assert answers(made, range(1)) == ["d"]
    assert caplog.messages == [
        "pictures train: 6 rows, 5 left out (3 for an image smaller than 7 pixels, "
        "2 for an image larger than 39 pixels)"
    ]


def test_unusable_rows_are_dropped_and_counted(rows, pictures, caplog):
    with caplog.at_level(logging.INFO):
        made = rows("train", pictures, images="images", shuffle=False, corrupt="drop")
    assert [len(made[i]["images"]) for i in range(4)] == [1, 1, 0, 2]
    assert caplog.messages == [
        "pictures train: 6 rows, 2 left out (1 for an image that is broken, 1 for an empty answer)"
    ]


@pytest.mark.parametrize(
    ("limits", "kept"),
    [
        ({"max_pixels": 100}, ["a", "d", ""]),
        ({"min_side": 30}, ["b", "c", "d"]),
        ({"max_side": 40}, ["a", "b", "c", "d", "e", ""]),
        ({"max_characters": 2}, ["a", "b", "c", "d", "e", ""]),
    ],
)
def test_sizes_are_those_of_every_image_of_a_row(limits, kept, pictures, rows):
    made = rows("train", pictures, images="images", shuffle=False, **limits)
    found = made.rows.records.at(made.rows.places.tolist())
    assert [record["answer"] for record in found] == kept


def test_long_problems(rows, sums, caplog):
    with caplog.at_level(logging.INFO):
        made = rows(
            "train", sums, template="{problem} and more", max_characters=6, keep={"level": [0]}
        )
        assert len(made) == 5
        with pytest.raises(UserError) as caught:
            rows("train", sums, max_characters=5)
    assert str(caught.value) == (
        "no row is left: sums train: 10 rows, 10 left out (10 for a problem longer than 5 "
        "characters); loosen data.rows.filters or data.rows.keep, or change data.rows.splits"
    )


def test_a_corrupt_image_stops_where_it_is_read(rows, pictures):
    made = rows("train", pictures, images="images", shuffle=False)
    with pytest.raises(
        UserError, match=r"^pictures/train/2: an image cannot be read .*corrupt=drop"
    ):
        made[2]
    with pytest.raises(UserError, match=r"^pictures/train/5: its answer is empty"):
        made[5]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"problem": "question"},
            "sums/train/0: there is no column 'question' .the data has problem",
        ),
        ({"images": "image"}, "sums/train/0: there is no column 'image'"),
        ({"template": "{question}"}, "the template '{question}' names the column 'question'"),
        (
            {"keep": {"domain": ["math"]}},
            "sums/train/0: there is no column 'domain' .the data has pr",
        ),
        (
            {"splits": {"train": "dev"}},
            "'dev' cannot be cut .*the source has train; write for exampl",
        ),
        (
            {"splits": {"test": "train"}},
            r"data.rows.splits has no 'train' \(it has test\); add it, f",
        ),
        (
            {"splits": {"train": "train[:0]"}},
            r"no row is left: sums train \(train\[:0\]\): 0 rows; l",
        ),
        (
            {"streaming": True, "cut_seed": 0},
            "a stream cannot be mixed with cut_seed=0 before it is",
        ),
        ({"choices": "level"}, "sums/train/0: 0 is no list of choices; mend the data"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_computed(rows, sums, changes, message):
    with pytest.raises(UserError, match=message):
        rows("train", sums, **changes)


def test_an_unknown_treatment_of_corrupt_rows():
    with pytest.raises(UserError, match="corrupt=skip is unknown; choose refuse or drop"):
        Filters(None, None, None, None, "skip")


def test_rows_come_without_torch():
    code = "import sys, gndpo.data.table; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
