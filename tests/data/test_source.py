"""What can be read: files, folders, saved data sets, streams; and cuts of it."""

import json
from pathlib import Path

import pytest
from datasets import Dataset, DatasetDict

from gndpo.data.source import Cut, cut_of, folder_of, load, name_of, split_of
from gndpo.errors import UserError

ROWS = [{"problem": f"{i} + 1?", "answer": i + 1} for i in range(5)]


def write(path: Path, rows=ROWS) -> Path:
    """In the format of the file's ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = Dataset.from_list(rows)
    if path.suffix == ".parquet":
        table.to_parquet(path)
    elif path.suffix == ".csv":
        table.to_csv(path)
    elif path.suffix == ".arrow":
        table.save_to_disk(path.parent / "saved")
        next((path.parent / "saved").glob("*.arrow")).rename(path)
        for file in (path.parent / "saved").iterdir():
            file.unlink()
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("ending", ["parquet", "jsonl", "json", "csv", "arrow"])
def test_every_format_gives_the_same_rows(ending, streaming, tmp_path):
    file = write(tmp_path / f"mine.{ending}")
    for source in (file, tmp_path):
        found = load(str(source), None, streaming)
        assert list(found) == ["train"]
        assert list(found["train"]) == ROWS


def test_files_become_splits_by_their_names(tmp_path):
    write(tmp_path / "train-00000-of-00002.jsonl", ROWS[:1])
    write(tmp_path / "train-00001-of-00002.jsonl", ROWS[1:2])
    write(tmp_path / "validation.jsonl", ROWS[2:3])
    write(tmp_path / "test" / "0000.jsonl", ROWS[3:])
    found = load(str(tmp_path), None, False)
    assert {name: list(rows) for name, rows in found.items()} == {
        "train": ROWS[:2],
        "validation": ROWS[2:3],
        "test": ROWS[3:],
    }
    only = load(f"{tmp_path}/train-*.jsonl", None, False)
    assert {name: len(rows) for name, rows in only.items()} == {"train": 2}


@pytest.mark.parametrize(
    ("file", "split"),
    [
        ("a/val.jsonl", "validation"),
        ("a/dev-00.parquet", "validation"),
        ("test/a.parquet", "test"),
        ("test/train-0.parquet", "train"),
        ("data/testmini-00000-of-00001.parquet", "testmini"),
        ("a/mine.jsonl", "train"),
        ("a/training.jsonl", "train"),
        ("a/testimony.jsonl", "train"),
    ],
)
def test_the_split_of_a_file(file, split):
    assert split_of(Path(file)) == split


@pytest.mark.parametrize("streaming", [False, True])
def test_saved_folders(streaming, tmp_path):
    one, several = tmp_path / "one", tmp_path / "several"
    table = Dataset.from_list(ROWS)
    table.save_to_disk(one)
    DatasetDict({"dev": table, "test": table}).save_to_disk(several)
    assert list(load(str(one), None, streaming)["train"]) == ROWS
    assert {name: list(x) for name, x in load(str(several), None, streaming).items()} == {
        "dev": ROWS,
        "test": ROWS,
    }


@pytest.mark.parametrize("streaming", [False, True])
def test_an_image_folder_is_labelled_by_its_folders(streaming, rows, draw, tmp_path):
    for label in ("cat", "dog"):
        (tmp_path / "train" / label).mkdir(parents=True)
        draw("red").save(tmp_path / "train" / label / "0.png")
    made = rows(
        "train",
        tmp_path,
        shuffle=False,
        streaming=streaming,
        images="image",
        problem=None,
        answer="label",
        template="<image> What is it?",
    )
    found = [made[0], made[1]]
    assert [row["answer"] for row in found] == ["cat", "dog"]
    assert [len(row["images"]) for row in found] == [1, 1]


def test_an_image_folder_with_a_table_of_metadata(rows, draw, tmp_path):
    draw("red").save(tmp_path / "a.png")
    write(tmp_path / "metadata.jsonl", [{"file_name": "a.png", "problem": "?", "answer": "red"}])
    row = rows("train", tmp_path, images="image")[0]
    assert (row["answer"], row["images"][0].getpixel((0, 0))) == ("red", (255, 0, 0))


def test_names_and_folders_of_sources(tmp_path):
    file = write(tmp_path / "mine.jsonl")
    assert name_of("hiyouga/geometry3k@main") == name_of("hiyouga/geometry3k") == "geometry3k"
    assert [name_of(str(x)) for x in (file, tmp_path, tmp_path / "*.jsonl")] == [
        "mine",
        tmp_path.name,
        tmp_path.name,
    ]
    assert folder_of("hiyouga/geometry3k") is None
    assert folder_of(str(file)) == folder_of(str(tmp_path)) == tmp_path


@pytest.mark.parametrize(
    ("spec", "cut"),
    [
        ("train", Cut("train", 0, 100)),
        ("train[:20]", Cut("train", 0, 20)),
        ("train[20:]", Cut("train", 20, 100)),
        ("train[-10:]", Cut("train", 90, 100)),
        ("train[5%:10%]", Cut("train", 5, 10)),
        ("train[90:500]", Cut("train", 90, 100)),
    ],
)
def test_cuts(spec, cut):
    assert cut_of(spec, {"train": 100}, ["train"]) == cut


@pytest.mark.parametrize(
    ("spec", "sizes", "message"),
    [
        ("dev", {"train": 9, "test": 9}, "'dev' cannot be cut .*the source has train, test; write"),
        ("train[", {"train": 9}, "cannot be cut"),
        ("train+test", {"train": 9, "test": 9}, "names several splits; name one"),
        ("train[:5%]", None, "'train.:5%.' counts from the end, which a stream does not know"),
        ("train[-5:]", None, "counts from the end"),
    ],
)
def test_cuts_that_cannot_be(spec, sizes, message):
    with pytest.raises(UserError, match=message):
        cut_of(spec, sizes, ["train", "test"])


def test_cuts_of_a_stream_have_no_end():
    assert cut_of("train[7:]", None, ["train"]).start == 7
    assert cut_of("train[:7]", None, ["train"]) == Cut("train", 0, 7)


def test_nothing_named():
    with pytest.raises(
        UserError, match=r"data.rows.source is not set; name a hub data set, a file"
    ):
        load(None, None, False)


@pytest.mark.parametrize("name", ["none", "none.jsonl", "*.jsonl"])
def test_a_path_that_is_not_there(name, tmp_path):
    with pytest.raises(
        UserError, match=r"is neither a folder nor a file of .parquet, .arrow, .jso"
    ):
        load(str(tmp_path / name), None, False)


def test_a_folder_of_several_formats(tmp_path):
    write(tmp_path / "a.jsonl")
    write(tmp_path / "b.csv")
    with pytest.raises(
        UserError, match=r"several formats \(csv, json\); name one, for example .*\*"
    ):
        load(str(tmp_path), None, False)


def test_an_empty_folder(tmp_path):
    with pytest.raises(UserError, match=f"data.rows.source={tmp_path} cannot be read: "):
        load(str(tmp_path), None, False)


def test_a_broken_file(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"problem": 1}\n{"problem": \n')
    with pytest.raises(UserError, match=r"cannot be read: .*JSON"):
        load(str(tmp_path / "a.jsonl"), None, False)


def test_an_unknown_hub_data_set(monkeypatch):
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"data.rows.source=nobody/nothing@v1 cannot be re"):
        load("nobody/nothing@v1", None, False)
