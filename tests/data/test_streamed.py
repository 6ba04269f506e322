"""Rows of a stream: the same as of the table, in order, cut and shuffled."""

import logging

import pytest

from gndpo.errors import UserError


def answers(rows, indices):
    return [rows[i]["answer"] for i in indices]


def test_a_stream_gives_the_rows_of_the_table(rows, sums, pictures):
    for source, columns in ((sums, {}), (pictures, {"images": "images", "corrupt": "drop"})):
        for split in ("train", "validation"):
            one, other = (
                rows(split, source, streaming=x, shuffle=False, **columns) for x in (False, True)
            )
            n = 2 * len(one) if one.endless else len(one)
            assert [one[i] for i in range(n)] == [other[i] for i in range(n)]
    with pytest.raises(IndexError, match="there are 2, counted from 0"):
        other[3]


def test_a_stream_is_shuffled_anew_in_every_epoch_and_the_same_way_again(rows, sums):
    def epochs(seed):
        made = rows("train", sums, seed=seed, streaming=True)
        return [[made[i + 10 * e] for i in range(10)] for e in range(2)]

    first, second = epochs(0)
    assert sorted(int(row["answer"]) for row in first) == list(range(1, 11))
    assert sorted(int(row["answer"]) for row in second) == list(range(1, 11))
    assert first != second
    assert epochs(0) == [first, second] != epochs(1)
    assert all(int(x["name"].rpartition("/")[2]) + 1 == int(x["answer"]) for x in first)


def test_a_stream_skips_ahead_and_does_not_go_back(rows, sums):
    whole = rows("train", sums, streaming=True)
    wanted = [whole[i] for i in range(15)][12:]
    late = rows("train", sums, streaming=True)
    assert [late[i] for i in range(12, 15)] == wanted
    with pytest.raises(
        UserError, match="row 14 was asked for after row 14, and a stream does not go"
    ):
        late[14]
    with pytest.raises(
        UserError, match=r"is a stream, whose length is not known; use data.rows.strea"
    ):
        len(late)


def test_a_stream_is_cut_after_its_rows_are_chosen_and_says_what_it_left_out(rows, sums, caplog):
    splits = {"train": "train[2:]", "validation": "train[:2]"}
    common = {"splits": splits, "streaming": True, "keep": {"level": [1]}, "max_characters": 6}
    assert answers(rows("validation", sums, **common), range(2)) == ["2", "4"]
    made = rows("train", sums, shuffle=False, **common)
    with caplog.at_level(logging.INFO):
        assert answers(made, range(4)) == ["6", "8", "10", "6"]
    assert caplog.messages == ["sums/train: 8 rows, 5 left out (5 for another level), pass 1"]


def test_a_stream_without_rows_is_refused(rows, sums):
    made = rows("train", sums, streaming=True, max_characters=1)
    with pytest.raises(UserError, match="no row is left: sums/train: 10 rows, 10 left out"):
        made[0]
