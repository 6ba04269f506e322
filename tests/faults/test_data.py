"""Data that break while a run goes on: one sentence with row and step; what was computed stays."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gndpo.data import streamed
from gndpo.data.module import PromptData
from gndpo.data.streamed import WAITS, steady
from gndpo.errors import UserError

ROWS = 12


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """A table whose images lie in files beside it."""
    folder = tmp_path / "data"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (ROWS, 32, 32, 3), dtype=np.uint8)
    for i in range(ROWS):
        Image.fromarray(noise[i]).save(folder / f"{i}.png")
    lines = [{"image": f"{i}.png", "problem": "sum", "answer": f"{i}"} for i in range(ROWS)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def table(folder: Path, **more: Any) -> list[str]:
    keys = {
        "data": "local",
        "data.rows.source": folder / "rows.jsonl",
        "data.rows.shuffle": "false",
        "data.rows.cut_seed": "null",
        "data.rows.fields.images": "image",
        "data.rows.fields.problem": "problem",
        "data.rows.fields.answer": "answer",
    }
    cuts = {"train": "train", "validation": "train[:4]", "test": "train[:4]"}
    splits = {f"data.rows.splits.{name}": f"'{cut}'" for name, cut in cuts.items()}
    return [f"{key}={value}" for key, value in (keys | splits | more).items()]


@pytest.mark.parametrize(
    ("ruined", "said"),
    [(b"\x89PNG\r\n half", "an image cannot be read"), (None, "there is no image file")],
)
def test_an_image_that_broke_is_named_with_its_step(run, readable, rows, ruined, said) -> None:
    """Row 9 is of the third step."""
    if ruined is None:
        (rows / "9.png").unlink()
    else:
        (rows / "9.png").write_bytes(ruined)
    done = run(*table(rows))
    assert done.code == 1
    assert f"the prompts of step 3: rows/train/9: {said}" in done.err
    assert "Traceback" not in done.err
    readable(done, 2)
    assert "the prompts of step 3" in done.status["reason"]


class Vanishing:
    """Rows whose source is gone behind the fifth."""

    endless = True

    def __init__(self, split: str, seed: int) -> None:
        pass

    def __getitem__(self, index: int) -> Any:
        if index >= 5:
            raise FileNotFoundError(2, "No such file", "rows.arrow")
        return {"problem": str(index)}


@pytest.mark.parametrize("ahead", [0, 1])
def test_rows_that_vanish_are_one_sentence_when_their_step_begins(ahead: int) -> None:
    settings = {"seed": 0, "evaluation_seed": 0, "max_prompt_tokens": 9, "overlong": "drop"}
    data = PromptData(Vanishing, prompts=2, steps=4, ahead=ahead, **settings)
    calls = iter(data.train_dataloader())
    assert [len(next(calls)()) for _ in range(2)] == [2, 2]
    with pytest.raises(UserError, match=r"of step 3: row 5 cannot be read \(FileNotFoundError"):
        next(calls)()


class Flaky:
    """Ten records; the source fails before record `at`, `times` times."""

    def __init__(self, at: int, times: int) -> None:
        self.at, self.left, self.opened = at, times, 0

    def __call__(self) -> Iterator[dict[str, Any]]:
        self.opened += 1
        for i in range(10):
            if i == self.at and self.left:
                self.left -= 1
                raise ConnectionResetError("peer went away")
            yield {"i": i}


def test_a_stream_that_fails_is_read_again_up_to_there(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(streamed.time, "sleep", waited.append)
    source = Flaky(at=4, times=len(WAITS))
    assert [record["i"] for record in steady(source, "mine/train")] == [*range(10)]
    assert source.opened == len(WAITS) + 1
    assert waited == [*WAITS]


def test_a_stream_that_is_gone_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamed.time, "sleep", lambda seconds: None)
    with pytest.raises(UserError, match="mine/train: record 4 of the stream cannot be read after"):
        list(steady(Flaky(at=4, times=99), "mine/train"))
