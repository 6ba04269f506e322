"""A student that only reads: what the image would add is not asked for in silence."""

import json
from pathlib import Path
from typing import Any

import pytest
from twins import write

from gndpo import train

VIEWS = {
    "advantage=decomposed": "decomposed reads what the image adds (student_text, teacher_text)",
    "advantage=vcsd": "vcsd reads what the image adds (teacher_black)",
    "rollout.rendering=text": "rollout.rendering=text: the student only reads text; use image",
}


@pytest.fixture(scope="module")
def overrides(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    root = tmp_path_factory.mktemp("text")
    rows = [{"problem": f"{i} and {i}?", "answer": str(2 * i)} for i in range(40)]
    (root / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [
        "model=checkpoints",
        *(
            f"model.pair.{name}={write('text', root / name, layers=i)}"
            for i, name in ((1, "student"), (2, "teacher"))
        ),
        "data=local",
        f"data.rows.source={root / 'sums.jsonl'}",
        "data.rows.fields.images=null",
        "logger=none",
    ]


@pytest.mark.parametrize("override", VIEWS)
def test_views_of_an_image_are_refused(
    command: Any, overrides: list[str], tmp_path: Path, override: str
) -> None:
    code, err = command(train.main, *overrides, override, f"hydra.run.dir={tmp_path / 'run'}")
    assert code != 0
    assert VIEWS[override] in err
    assert "Traceback" not in err
