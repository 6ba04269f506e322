from datasets import Dataset

from gndpo.data.digits import KINDS, DigitsRows
from gndpo.data.export import export
from gndpo.data.templates import columns_of


def test_parquet_gives_the_rows_back(tmp_path):
    rows = DigitsRows(
        "test",
        0,
        blocks={"test": [0, 9]},
        kinds=list(KINDS),
        augment=None,
        images=None,
        language="plain",
    )
    path = tmp_path / "deep" / "test.parquet"
    export([rows[i] for i in range(3)], path)
    back = Dataset.from_parquet(str(path), cache_dir=str(tmp_path / "cache"))
    fields = ["digits", "gist", "steps", "translation"]
    plain = ["images", "problem", "answer", "choices", "solution", "kind"]
    assert back.column_names == [*plain, *fields]
    for i, row in enumerate(back):
        assert row["images"][0].tobytes() == rows[i]["images"][0].tobytes()
        assert row | {"images": []} == columns_of(rows[i]) | {"images": [], "choices": []}
    assert [file.name for file in path.parent.iterdir()] == ["test.parquet"]


def test_images_are_bytes_and_path_as_in_geometry3k(tmp_path):
    import pyarrow.parquet

    rows = DigitsRows(
        "test",
        0,
        blocks={"test": [0, 9]},
        kinds=["sum"],
        augment=None,
        images=None,
        language="plain",
    )
    export([rows[0]], tmp_path / "x.parquet")
    images = pyarrow.parquet.read_table(tmp_path / "x.parquet")["images"][0].as_py()
    assert images[0]["path"] is None
    assert images[0]["bytes"].startswith(b"\x89PNG")


def test_what_is_exported_can_be_trained_on(tmp_path, rows):
    digits = DigitsRows(
        "test",
        0,
        blocks={"test": [0, 9]},
        kinds=["sum"],
        augment=None,
        images=None,
        language="plain",
    )
    export([digits[i] for i in range(3)], tmp_path / "digits.parquet")
    again = rows(
        "train",
        tmp_path / "digits.parquet",
        shuffle=False,
        images="images",
        choices="choices",
        solution="solution",
        kind="kind",
        further={name: name for name in digits[0]["fields"]},
    )
    for i in range(3):
        assert again[i] == digits[i] | {"name": f"digits/train/{i}"}
