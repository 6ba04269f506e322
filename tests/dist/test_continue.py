"""A run that one process began goes on on several, and the other way round."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from gndpo.runfolder import read_rows

SPLIT = ["trainer=fsdp", "trainer.devices=2", "trainer.accelerator=cpu"]


def train(folder: Path, *overrides: str) -> None:
    command = [sys.executable, "-m", "gndpo.train", *overrides, f"hydra.run.dir={folder}"]
    subprocess.run(command, check=True)


@pytest.mark.dist
@pytest.mark.parametrize(("before", "after"), [([], SPLIT), (SPLIT, [])], ids=["out", "in"])
def test_a_checkpoint_goes_on_elsewhere(
    small: list[str], tmp_path: Path, before: list[str], after: list[str]
) -> None:
    own = [
        *small,
        "optimizer=adamw",
        "optimizer.lr=0.01",
        "checkpoint.every=1",
        "checkpoint.keep=2",
    ]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train(whole, *own, *before)
    shutil.copytree(whole, cut)
    shutil.rmtree(cut / "checkpoints" / "step-0000002")
    status = json.loads((cut / "run.json").read_text())
    (cut / "run.json").write_text(json.dumps(status | {"status": "interrupted"}))
    train(cut, *own, *after, "ckpt=last")
    rows = [list(read_rows(folder / "metrics.jsonl")) for folder in (whole, cut)]
    for a, b in zip(*rows, strict=True):
        numbers = {key: x for key, x in a.items() if not key.startswith("time/")}
        assert {key: b[key] for key in numbers} == pytest.approx(numbers, rel=1e-9, abs=1e-9)
    ends = [load_file(x / "checkpoints/step-0000002/student.safetensors") for x in (whole, cut)]
    torch.testing.assert_close(*ends, rtol=1e-9, atol=1e-9)
