"""A benchmark as an lmms-eval task: a folder with the task, its functions and the rows.

`lmms_eval --include_path <folder> --tasks gndpo_<name>` reads it; the functions grade with this
package, which must be installed there too.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from datasets import Dataset, Features, Image, List, Value
from datasets.exceptions import DatasetGenerationError
from omegaconf import DictConfig, OmegaConf
from PIL import Image as PIL

from gndpo.benchmarks.benchmark import Benchmark, rows_without
from gndpo.build import build
from gndpo.data.rows import Row
from gndpo.errors import UserError
from gndpo.models.processor import content
from gndpo.rewards import Grade
from gndpo.runfolder import write_text

FEATURES = Features(
    {
        "name": Value("string"),
        "images": List(Image()),
        "prompt": Value("string"),
        "answer": Value("string"),
        "choices": List(Value("string")),
        "kind": Value("string"),
        "fields": Value("string"),
    }
)

UTILS = '''"""Functions of the task, as lmms-eval calls them."""

from pathlib import Path

from gndpo.benchmarks import lmms_eval

GRADE = lmms_eval.grade_of(Path(__file__).parent / "reward.json")


def visual(doc):
    return [image.convert("RGB") for image in doc["images"]]


def text(doc, lmms_eval_specific_kwargs=None):
    return doc["prompt"]


def messages(doc, lmms_eval_specific_kwargs=None):
    return lmms_eval.messages(doc["prompt"], visual(doc))


def process(doc, results):
    return lmms_eval.process(GRADE, doc, results)
'''


FUNCTIONS = {
    "doc_to_visual": "visual",
    "doc_to_text": "text",
    "doc_to_messages": "messages",
    "process_results": "process",
}


def export(section: DictConfig | None, folder: Path) -> Path:
    """Write folder/gndpo_<name>.yaml, utils.py, reward.json and rows.parquet."""
    if section is None:
        raise UserError("which benchmark? type gndpo-eval benchmark=<name> lmms_eval=<folder>")
    benchmark: Benchmark = build(section, "benchmark")
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as scratch:
        try:
            table = Dataset.from_generator(
                documents,
                features=FEATURES,
                gen_kwargs={"benchmark": benchmark},
                cache_dir=scratch,
                fingerprint=benchmark.name,
            )
        except DatasetGenerationError as error:
            raise error.__cause__ or error from error
        table.to_parquet(folder / "rows.parquet")
    write_text(folder / "utils.py", UTILS)
    write_text(folder / "reward.json", json.dumps(OmegaConf.to_container(section.reward)))
    write_text(folder / f"gndpo_{benchmark.name}.yaml", task(benchmark, folder.resolve()))
    return folder


def documents(benchmark: Benchmark) -> Iterator[dict[str, Any]]:
    """Its rows as lmms-eval holds them."""
    for _, row in rows_without((), benchmark):
        yield document(row)


def document(row: Row) -> dict[str, Any]:
    """A row as lmms-eval holds it; `<image>` markers in the prompt are its own convention too."""
    kept = ("name", "images", "answer", "choices", "kind")
    values: dict[str, Any] = {name: row[name] for name in kept}  # type: ignore[literal-required]
    return values | {"prompt": row["problem"], "fields": json.dumps(row["fields"])}


def task(benchmark: Benchmark, folder: Path) -> str:
    """The task's YAML. Greedy, or sampled `k` times where nothing is greedy."""
    sampled = not benchmark.greedy
    generation = {
        "max_new_tokens": benchmark.max_tokens,
        "do_sample": sampled,
        "temperature": benchmark.temperature if sampled else 0.0,
        "until": [],
    }
    plain = {
        "task": f"gndpo_{benchmark.name}",
        "dataset_path": "parquet",
        "dataset_kwargs": {"data_files": {"test": str(folder / "rows.parquet")}},
        "test_split": "test",
        "output_type": "generate_until",
        "generation_kwargs": generation,
        "repeats": benchmark.k if sampled else 1,
        "doc_to_target": "answer",
        "metric_list": [
            {"metric": name, "aggregation": "mean", "higher_is_better": True}
            for name in ("accuracy", "total")
        ],
        "metadata": {"version": 1.0},
    }
    calls = "".join(f"{key}: !function utils.{name}\n" for key, name in FUNCTIONS.items())
    return OmegaConf.to_yaml(OmegaConf.create(plain)) + calls


def messages(prompt: str, images: Sequence[PIL.Image]) -> list[dict[str, Any]]:
    """One user turn, images where the prompt has its markers."""
    left = iter(images)
    parts = [
        {"type": "image", "url": next(left)} if part["type"] == "image" else part
        for part in content(prompt, len(images))
    ]
    return [{"role": "user", "content": parts}]


def grade_of(file: Path) -> Grade:
    section = OmegaConf.load(file)
    assert isinstance(section, DictConfig)
    grade: Grade = build(section, "reward")
    return grade


def process(grade: Grade, doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Accuracy and total of a document, means over its answers."""
    row: Any = doc | {"images": [], "fields": json.loads(doc["fields"])}
    rewards = grade(results, [row] * len(results))
    n = len(rewards)
    return {
        "accuracy": sum(r.correct for r in rewards) / n,
        "total": sum(r.total for r in rewards) / n,
    }
