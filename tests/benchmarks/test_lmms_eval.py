"""The export to lmms-eval: what the task's files say, and that its functions grade as we do."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import yaml
from datasets import load_dataset

from gndpo.benchmarks.benchmark import Benchmark
from gndpo.benchmarks.lmms_eval import export
from gndpo.build import build
from gndpo.errors import UserError
from tests.benchmarks.conftest import Section
from tests.benchmarks.data import ANSWERS

KINDS_OF_PARTS = {
    "mathvista_mini": ["image", "text"],
    "mmmu_pro": ["text", "image", "text", "image", "text", "image", "text"],
    "aime24": ["text"],
}


class Loader(yaml.SafeLoader):
    """Functions by name, as lmms-eval writes them."""


Loader.add_constructor("!function", lambda loader, node: loader.construct_scalar(node))


def task_of(folder: Path, name: str) -> dict[str, Any]:
    task: dict[str, Any] = yaml.load((folder / f"gndpo_{name}.yaml").read_text(), Loader)
    return task


def functions_of(folder: Path) -> Any:
    spec = importlib.util.spec_from_file_location("utils", folder / "utils.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["mathvista_mini", "mmmu_pro", "aime24"])
def test_a_task_has_our_prompts_images_targets_and_grades(
    section: Section, tmp_path: Path, name: str
) -> None:
    cfg = section(name)
    folder = export(cfg, tmp_path / name)
    benchmark: Benchmark = build(cfg, "benchmark")
    task, utils = task_of(folder, name), functions_of(folder)
    docs = load_dataset(
        task["dataset_path"], split=task["test_split"], **task["dataset_kwargs"], cache_dir=tmp_path
    )
    for doc, row in zip(docs, benchmark.rows("test", 0), strict=True):
        assert utils.text(doc) == row["problem"]
        assert [x.tobytes() for x in utils.visual(doc)] == [x.tobytes() for x in row["images"]]
        assert doc[task["doc_to_target"]] == row["answer"]
    right, wrong = ANSWERS[name]
    parts = utils.messages(docs[1])[0]["content"]
    shown = [part["type"] for part in parts]
    assert shown == KINDS_OF_PARTS[name]
    assert "".join(part.get("text", "<image>") for part in parts).endswith(docs[1]["prompt"])
    assert utils.process(docs[0], [right])["accuracy"] == 1
    assert utils.process(docs[0], [right, wrong]) == {"accuracy": 0.5, "total": 0.5}
    assert task["doc_to_text"] == "utils.text"
    generation = task["generation_kwargs"]
    sampled = name == "aime24"
    assert generation["max_new_tokens"] == benchmark.max_tokens
    assert (generation["do_sample"], generation["temperature"]) == (sampled, float(sampled))
    assert task["repeats"] == (32 if sampled else 1)


def test_first_rows_only(section: Section, tmp_path: Path) -> None:
    folder = export(section("math500", "limit=1"), tmp_path)
    assert len(load_dataset("parquet", data_files=str(folder / "rows.parquet"))["train"]) == 1


def test_which_benchmark() -> None:
    with pytest.raises(UserError, match="which benchmark"):
        export(None, Path("nowhere"))
