import re
from collections import Counter

import numpy as np
import pytest
from omegaconf import OmegaConf

from gndpo.build import build, config_folder
from gndpo.data.digits import (
    KINDS,
    NUMBERS,
    DigitsRows,
    abroad,
    grid,
    handwriting,
    make_row,
    worked,
)
from gndpo.data.warp import Augment, warp
from gndpo.errors import UserError

BLOCKS = {"train": [0, 20], "validation": [20, 30], "test": [30, 40]}
AUGMENT = Augment(shift=1, turn=10, scale=0.1, shear=0.1, bend=0.1, fade=0.3, gamma=0.3)


def rows(split, seed=0, **changes):
    settings = {
        "blocks": BLOCKS,
        "kinds": tuple(KINDS),
        "augment": AUGMENT,
        "images": None,
        "language": "plain",
    }
    return DigitsRows(split, seed, **(settings | changes))


@pytest.mark.parametrize(
    ("kind", "results"),
    [
        ("sum", [8, 10, 19]),
        ("maximum", [5, 5, 9]),
        ("minimum", [3, 2, 2]),
        ("row_difference", [8, 6, -3]),
        ("column_difference", [-2, 0, -9]),
    ],
)
def test_the_work_of_3_5_2_9(kind, results):
    assert worked(kind, (3, 5, 2, 9)) == results


def test_a_row_is_a_pure_function_of_split_seed_and_index():
    first, again = rows("train")[7], rows("train")[7]
    assert first["solution"] == again["solution"]
    assert first["images"][0].tobytes() == again["images"][0].tobytes()
    assert first["images"][0].tobytes() != rows("train", seed=1)[7]["images"][0].tobytes()
    assert first["images"][0].tobytes() != rows("train")[7 + 1297]["images"][0].tobytes()


def test_the_schema():
    row = rows("test")[3]
    keys = ["name", "images", "problem", "answer", "choices", "solution", "kind", "fields"]
    assert list(row) == keys
    assert (row["name"], row["choices"]) == ("digits/test/3", [])
    assert [(image.mode, image.size) for image in row["images"]] == [("RGB", (32, 32))]
    numbers = [int(x) for x in re.findall(r"-?\d+", row["solution"])]
    assert numbers[4:7] == worked(row["kind"], tuple(numbers[:4]))
    assert row["solution"].endswith(f"</think> \\boxed{{ {row['answer']} }}")
    assert row["answer"] == str(numbers[6])


@pytest.mark.parametrize(
    ("kind", "steps", "gist"),
    [
        (
            "row_difference",
            "sum top left ; sum top right ; minus bottom left ; minus bottom right",
            "3 5 2 9 ; 8 6 -3",
        ),
        (
            "maximum",
            "largest top left ; largest top right ; largest bottom left ; largest bottom right",
            "3 5 2 9",
        ),
    ],
)
def test_the_fields_of_3_5_2_9(kind, steps, gist):
    assert make_row("x", kind, (3, 5, 2, 9), rows("test")[0]["images"][0], "plain")["fields"] == {
        "digits": "3 5 2 9",
        "gist": gist,
        "steps": steps,
        "translation": abroad(KINDS[kind].problem),
    }


def test_the_signs_of_the_work_are_the_words_of_the_steps():
    for kind in ("sum", "row_difference", "column_difference"):
        signs = [{"sum": 1, "minus": -1}[word] for word in KINDS[kind].words]
        digits = (3, 5, 2, 9)
        total = sum(sign * digit for sign, digit in zip(signs, digits, strict=True))
        assert worked(kind, digits)[-1] == total


def test_a_foreign_row_is_the_plain_one_asked_in_the_other_language():
    plain, foreign = rows("test")[5], rows("test", language="foreign")[5]
    assert foreign["problem"] == plain["fields"]["translation"] == abroad(plain["problem"])
    assert foreign["fields"]["translation"] == plain["problem"]
    assert foreign["images"] == plain["images"]
    for name in ("answer", "solution", "kind"):
        assert foreign[name] == plain[name]


def test_a_foreign_question_has_friends_that_are_false_and_can_be_translated_back():
    assert abroad("what is the largest of the four digits ?") == (
        "? digits four the of smallest the is what"
    )
    plain = {kind.problem for kind in KINDS.values()}
    assert {abroad(abroad(problem)) for problem in plain} == plain
    assert len({abroad(problem) for problem in plain} - plain) == len(plain)


def test_every_kind_appears_and_every_number_is_in_range():
    seen = [rows("train")[i] for i in range(200)]
    assert set(Counter(row["kind"] for row in seen)) == set(KINDS)
    used = {int(x) for row in seen for x in re.findall(r"-?\d+", row["solution"])}
    assert used <= set(NUMBERS)


def test_few_images_limit_the_training_block_alone():
    def labels(split, images):
        made = rows(split, images=images)
        return {x for i in range(60) for x in re.findall(r"\d+", made[i]["solution"])[:4]}

    two = {str(label) for label in handwriting().labels_N[:2]}
    assert labels("train", 2) == two
    assert labels("test", 2) == labels("test", None) != two


def test_test_rows_show_test_images_unchanged():
    plain = warp(handwriting().images_N[30:40], None, np.random.default_rng(0))
    known = {tile.tobytes() for tile in plain}
    for i in range(20):
        grey = np.asarray(rows("test")[i]["images"][0])[:, :, 0]
        tiles = grey.reshape(2, 16, 2, 16).transpose(0, 2, 1, 3).reshape(4, 16, 16)
        assert {tile.tobytes() for tile in tiles} <= known


def test_augmentation_moves_training_rows_only():
    bare = rows("train", augment=None)[0]
    assert bare["images"][0].tobytes() != rows("train")[0]["images"][0].tobytes()
    assert bare["solution"] == rows("train")[0]["solution"]
    assert rows("test", augment=None, images=None)[0]["images"][0] == rows("test")[0]["images"][0]


def test_grid_is_in_reading_order():
    tiles = np.stack([np.full((16, 16), value, np.uint8) for value in (1, 2, 3, 4)])
    image = grid(tiles)
    corners = [image.getpixel(at)[0] for at in ((0, 0), (31, 0), (0, 31), (31, 31))]
    assert corners == [1, 2, 3, 4]


def test_no_movement_is_the_plain_image():
    still = Augment(shift=0, turn=0, scale=0, shear=0, bend=0, fade=0, gamma=0)
    ink = handwriting().images_N[:5]
    draws = np.random.default_rng(0)
    np.testing.assert_array_equal(warp(ink, still, draws), warp(ink, None, draws))


def test_the_shipped_blocks_are_disjoint_and_cover_every_image():
    config = OmegaConf.load(f"{config_folder()}/data/rows/digits.yaml")
    make = build(config, "data.rows")
    spans = sorted((make(split, 0).start, make(split, 0).stop) for split in config.blocks)
    assert [start for start, _ in spans] == [0, *(stop for _, stop in spans[:-1])]
    assert spans[-1][1] == len(handwriting().labels_N)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"blocks": BLOCKS | {"test": [29, 40]}}, "overlap"),
        ({"blocks": BLOCKS | {"test": [30, 1798]}}, "within 0..1797"),
        ({"kinds": ["product"]}, "allowed are sum"),
        ({"kinds": []}, "at least one"),
        ({"language": "latin"}, "choose plain or foreign"),
    ],
)
def test_bad_settings_are_one_sentence(changes, message):
    with pytest.raises(UserError, match=message):
        rows("train", **changes)


def test_unknown_split_and_negative_index():
    with pytest.raises(UserError, match="unknown split 'dev'"):
        rows("dev")
    with pytest.raises(IndexError):
        rows("train")[-1]
