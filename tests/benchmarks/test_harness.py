"""Results of other harnesses: appended once, refused in one sentence."""

import json
from pathlib import Path
from typing import Any

import pytest

from gndpo.benchmarks.harness import import_results
from gndpo.errors import UserError
from gndpo.runfolder import RunFolder, read_rows

RESULT = {
    "benchmark": "livecodebench_v6",
    "metric": "pass@1",
    "value": 0.36,
    "n": 175,
    "samples": 1,
    "harness": "LiveCodeBench",
    "version": "a1b2c3",
    "step": 200,
}


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    run.write_status(status="completed")
    return run


def written(tmp_path: Path, content: Any) -> Path:
    file = tmp_path / "results.json"
    file.write_text(json.dumps(content))
    return file


def test_one_result_or_several_are_appended_once(folder: RunFolder, tmp_path: Path) -> None:
    assert import_results(folder, written(tmp_path, RESULT)) == [{"source": "imported", **RESULT}]
    other = RESULT | {"benchmark": "ifbench", "value": 1, "n": 294}
    new = import_results(folder, written(tmp_path, [RESULT, other]))
    assert new == [{"source": "imported", **other}]
    rows = list(read_rows(folder.path / "evaluations.jsonl"))
    assert [row["benchmark"] for row in rows] == ["livecodebench_v6", "ifbench"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"value": 36.0}, "value=36.0 must be a fraction of 1, such as 0.42 for 42%"),
        ({"value": "0.36"}, "value='0.36' must be a number"),
        ({"n": 175.5}, "n=175.5 must be a whole number"),
        ({"n": True}, "n=True must be a whole number"),
        ({"n": 0}, "n=0 must be at least 1"),
        ({"step": -1}, "step=-1 must be at least 0"),
        ({"harness": None}, "harness=None must be a text"),
        ({"extra": 1}, "it must have exactly benchmark, metric, value, n, samples, harness"),
    ],
)
def test_a_mistake_is_one_sentence_and_nothing_is_appended(
    folder: RunFolder, tmp_path: Path, change: dict[str, Any], sentence: str
) -> None:
    file = written(tmp_path, [RESULT, RESULT | change])
    with pytest.raises(UserError) as caught:
        import_results(folder, file)
    assert f"results={file}: result 1" in str(caught.value)
    assert sentence in str(caught.value)
    assert not (folder.path / "evaluations.jsonl").exists()


def test_what_is_no_file_of_results(folder: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such file"):
        import_results(folder, tmp_path / "none.json")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(UserError, match="is not JSON"):
        import_results(folder, tmp_path / "broken.json")
    with pytest.raises(UserError, match="result 0 has 3; it must have exactly"):
        import_results(folder, written(tmp_path, [3]))
    with pytest.raises(UserError, match="is not a run folder"):
        import_results(RunFolder(tmp_path), written(tmp_path, RESULT))
