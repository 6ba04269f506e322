"""Every notebook is committed without outputs, and runs beside a sweep where `make demo` leaves
its."""

import json
import sys
from pathlib import Path

import matplotlib
import pytest

from gndpo import train
from tests.runs.conftest import build_checkpoint

matplotlib.use("Agg")

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
SMALL = [
    *("model=checkpoints", "logger=none", "steps=3", "prompts=4", "rollout.group=2"),
    *("rollout.max_tokens=12", "eval.every=1", "eval.validation=4", "eval.test=4", "eval.k=1"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder beside runs/demo: two strategies, two seeds, on tiny random checkpoints."""
    root = tmp_path_factory.mktemp("project")
    pair = [
        f"model.pair.{name}={build_checkpoint(root / name, seed=layers, layers=layers)}"
        for layers, name in ((1, "student"), (2, "teacher"))
    ]
    grid = ["advantage=raw_kl,gndpo", "seed=0,1", f"hydra.sweep.dir={root}/runs/demo"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["gndpo-train", "-m", *SMALL, *pair, *grid])
        train.main()
    (root / "notebooks").mkdir()
    return root / "notebooks"


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_notebook_runs_from_top_to_bottom(
    file: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    cells = [cell for cell in json.loads(file.read_text())["cells"] if cell["cell_type"] == "code"]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in cells)
    names: dict[str, object] = {"__name__": "notebook"}
    for cell in cells:
        exec("".join(cell["source"]), names)
