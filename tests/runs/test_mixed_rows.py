"""Rows with and without images in one run."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import pytest
from twins import write
from twins.reading import noise

from gndpo import train
from tests.runs.conftest import Finished


@pytest.fixture(scope="module")
def overrides(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    root, buffer = tmp_path_factory.mktemp("mixed"), io.BytesIO()
    noise().save(buffer, "PNG")
    picture = base64.b64encode(buffer.getvalue()).decode()
    rows = [
        {
            "images": [picture] if i % 2 else [],
            "problem": f"{i} and {i}?",
            "answer": str(2 * i),
            "solution": "see <|image_pad|>",
        }
        for i in range(40)
    ]
    (root / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [
        "model=checkpoints",
        *(
            f"model.pair.{name}={write('qwen3_vl', root / name, layers=i)}"
            for i, name in ((1, "student"), (2, "teacher"))
        ),
        "data=local",
        f"data.rows.source={root / 'sums.jsonl'}",
        "data.rows.fields.solution=solution",
        "data.rows.shuffle=false",
        "data.rows.cut_seed=null",
        "logger=none",
        "steps=1",
        "prompts=2",
        "rollout.group=2",
        "rollout.max_tokens=4",
        "eval.validation=1",
        "eval.test=1",
        "eval.k=1",
        "schedule.warmup=0",
    ]


@pytest.mark.parametrize("micro", [1, "null"])
def test_a_vision_tower_learns_from_the_rows_that_have_images(
    command: Any, overrides: list[str], tmp_path: Path, micro: Any
) -> None:
    """Halves of a step, and microbatches, in which nothing can be learned."""
    more = ["model.parts=[vision]", f"updates.micro={micro}", f"hydra.run.dir={tmp_path / 'run'}"]
    code, err = command(train.main, *overrides, *more)
    assert code == 0, err
    row = Finished(code, err, tmp_path / "run").rows()[0]
    assert row["grad/norm"] == row["grad/norm_vision"] > 0


def test_an_answer_of_the_data_that_nobody_can_write_names_the_row(
    command: Any, overrides: list[str], tmp_path: Path
) -> None:
    more = ["rollout=data", "advantage=sft", f"hydra.run.dir={tmp_path / 'run'}"]
    code, err = command(train.main, *overrides, *more)
    assert code != 0
    assert (
        "rollout.writer: row sums/train/4 has '<|image_pad|>' in its column 'solution', which "
        "student and teacher cannot write; take it out of the data"
    ) in err
    assert "Traceback" not in err
