"""Benchmarks on small local copies of their data."""

from collections.abc import Callable
from pathlib import Path

import pytest
from datasets import Dataset, DatasetDict, Features, Image, List, Value
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from gndpo.build import config_folder
from tests.benchmarks.data import COLUMNS, OTHER, SPLITS

Section = Callable[..., DictConfig]


@pytest.fixture(scope="session")
def local(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a benchmark's data set, written when it is first asked for."""
    root = tmp_path_factory.mktemp("benchmarks")

    def write(name: str) -> Path:
        if not (root / name).exists():
            first = COLUMNS[name]
            rows = [first, first | OTHER.get(name, {})]
            data = Dataset.from_list(rows, features=features(name))
            DatasetDict({SPLITS.get(name, "test"): data}).save_to_disk(root / name)
        return root / name

    return write


def features(name: str) -> Features | None:
    """Guessed from the values, but for images, which may be null in all rows."""
    guessed = Dataset.from_list([COLUMNS[name] | OTHER.get(name, {}), COLUMNS[name]]).features
    numbered = {key: Image() for key in guessed if key.startswith("image_") and key[-1].isdigit()}
    choices = {key: List(Value("string")) for key in ("choices",) if name == "mathvista_mini"}
    return Features({**guessed, **numbered, **choices})


@pytest.fixture
def section(local: Callable[[str], Path]) -> Section:
    """section("mmmu", "limit=1"): the benchmark's configuration, its data replaced by one key."""

    def make(name: str, *overrides: str) -> DictConfig:
        with initialize_config_dir(config_folder(), version_base="1.3"):
            where = f"benchmark.rows.source={local(name)}"
            changes = [f"benchmark.{x}" for x in overrides]
            cfg = compose("evaluate", [f"benchmark={name}", where, *changes])
        found: DictConfig = cfg.benchmark
        return found

    return make
