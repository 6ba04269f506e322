"""Run folders of a table's rows, written as gndpo-train and gndpo-eval write them."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from gndpo.folders import config_folder
from gndpo.tables.definition import Table, read_table
from tests.runs.conftest import command, pair, run, small  # noqa: F401
from tests.runs.test_benchmarks import data  # noqa: F401

STEPS = 353


@pytest.fixture
def composed() -> Callable[..., Any]:
    """composed("train", "steps=1"): a configuration."""

    def make(name: str, *overrides: str) -> Any:
        with initialize_config_dir(config_folder(), version_base="1.3"):
            return compose(name, list(overrides))

    return make


@pytest.fixture
def table(composed: Callable[..., Any]) -> Callable[[str], Table]:
    def read(name: str) -> Table:
        return read_table(composed("table", f"table={name}").table, name)

    return read


def write_run(
    folder: Path,
    experiment: str,
    *overrides: str,
    seed: int = 0,
    status: str = "completed",
    evals: Sequence[Mapping[str, Any]] = (),
) -> Path:
    strategy = next(x for x in overrides if x.startswith("advantage=")).partition("=")[2]
    info = {
        "name": folder.name,
        "strategy": strategy,
        "experiment": experiment,
        "overrides": [f"experiment={experiment}", *overrides, f"seed={seed}", "sweep=vgs"],
        "seed": seed,
        "steps": STEPS,
        "status": status,
        "started": 1.0,
    }
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(info))
    write_rows(folder / "eval.jsonl", evals)
    return folder


def write_rows(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    file.parent.mkdir(exist_ok=True)
    with file.open("a") as content:
        content.writelines(json.dumps(row) + "\n" for row in rows)


def evaluation(benchmark: str, n: int, step: int = STEPS, who: str = "student", **numbers: float):
    """A line of evaluations.jsonl."""
    measured = {f"eval/{name}": value for name, value in numbers.items()}
    label = {"benchmark": benchmark, "step": step, "model": who, "n": n, "k": 16}
    return label | measured | {"settings": {"seed": 0}}


def answers(greedy: Sequence[float], samples: Sequence[Sequence[float]] = ()) -> list[Any]:
    """Lines of a file of answers: settings, then a record per question."""
    records = []
    for index, right in enumerate(greedy):
        draws = [(-1, right), *enumerate(samples[index] if samples else ())]
        given = [{"draw": d, "text": "", "parts": {"accuracy": float(x)}} for d, x in draws]
        records.append({"index": index, "row": f"r{index}", "answers": given})
    return [{"settings": {}}, *records]


@pytest.fixture
def adaptive(tmp_path: Path) -> Path:
    """Runs for the three rows of vgs/adaptive: MMMU-Pro in every seed, the others not measured."""
    right = {"full_kl": (0.40, 0.44), "decomposed": (0.46, 0.48), "vgs/adaptive": (0.5,)}
    for strategy, accuracies in right.items():
        for seed, accuracy in enumerate(accuracies):
            folder = tmp_path / "runs" / f"{strategy.replace('/', '-')}-{seed}"
            write_run(folder, "vgs/qwen3_vl_2b", f"advantage={strategy}", seed=seed)
            write_rows(folder / "evaluations.jsonl", [evaluation("mmmu_pro", 1730, acc_1=accuracy)])
    return tmp_path / "runs"
