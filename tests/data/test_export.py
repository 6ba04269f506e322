from datasets import Dataset

from gndpo.data.digits import KINDS, DigitsRows
from gndpo.data.export import export
from gndpo.prompts import columns_of


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
    assert back.column_names == ["images", "problem", "answer", "solution", "kind", *fields]
    for i, row in enumerate(back):
        assert row["images"][0].tobytes() == rows[i]["images"][0].tobytes()
        assert row | {"images": []} == columns_of(rows[i]) | {"images": []}
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
