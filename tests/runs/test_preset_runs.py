"""One step of every preset and of every pair: the models are tiny ones of the same family, the data
a few rows with the true columns."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
from PIL import Image
from twins import write

from gndpo import train
from gndpo.runfolder import read_rows
from tests.runs.test_presets import ARMS, CONSTANTS, FAMILIES, PRESETS

FAST = ("gndpo/internvl3_5_1b", "vgs/qwen3_vl_2b", "tropd/r1_distill_1_5b", "quickstart_gpu")
OTHERS = ("gemma3_4b", "llava_7b", "qwen2_5_vl_3b")
"""Pairs without a preset."""
SHORT = (
    *("logger=none", "trainer=cpu", "steps=1", "prompts=2", "rollout.group=2"),
    *("rollout.max_tokens=4", "eval.validation=1", "eval.test=1", "diagnose.prompts=1"),
)
SMALL_IMAGES = "model.image_arguments.size={shortest_edge: 256, longest_edge: 2048}"
GUIDED = ("rollout=prefix", "rollout=prefix_data")


def picture(i: int) -> Image.Image:
    return Image.new("RGB", (40, 32), (i, 80, 255 - i))


def geometry() -> dict[str, list[Any]]:
    """hiyouga/geometry3k, by split: images, problem, answer."""
    row = {"images": [picture(9)], "problem": "<image>Find x.", "answer": "7"}
    rows = {key: [value] * 4 for key, value in row.items()}
    return dict.fromkeys(("train", "validation", "test"), rows)


def vision_sr1() -> dict[str, Any]:
    """LMMs-Lab-Turtle/Vision-SR1-47K."""
    n = 100  # 1% are validated on
    problems = [f"<image>How many are {i}?" for i in range(n)]
    return {
        "train": {
            "images": [picture(i) for i in range(n)],
            "problem": problems,
            "answer": ["7"] * n,
        }
    }


def openthoughts() -> dict[str, Any]:
    """open-thoughts/OpenThoughts3-1.2M; the first 1024 problems are not trained on."""
    n = 1100
    turns = [
        [{"from": "human", "value": f"Add {i}."}, {"from": "gpt", "value": "<think> 7 </think> 7"}]
        for i in range(n)
    ]
    rest = {"difficulty": [7] * n, "source": ["ai2"] * n, "domain": ["math"] * n}
    return {"train": {**rest, "conversations": turns}}


SOURCES: dict[str, Callable[[], dict[str, Any]]] = {
    "hiyouga/geometry3k": geometry,
    "LMMs-Lab-Turtle/Vision-SR1-47K": vision_sr1,
    "open-thoughts/OpenThoughts3-1.2M": openthoughts,
}


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    root = tmp_path_factory.mktemp("sources")

    def local(name: str) -> Path:
        folder = root / name.rpartition("/")[2]
        if not folder.exists():
            folder.mkdir()
            for split, columns in SOURCES[name]().items():
                datasets.Dataset.from_dict(columns).to_parquet(folder / f"{split}.parquet")
        return folder

    return local


@pytest.fixture(scope="session")
def pair_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[str, ...]]:
    """Overrides that put a model file's pair of twins in its place."""
    root = tmp_path_factory.mktemp("twins")

    def overrides(model: str) -> tuple[str, ...]:
        family = FAMILIES[model]
        for seed, (which, layers) in enumerate({"student": 2, "teacher": 3}.items()):
            if not (root / family / which).exists():
                write(family, root / family / which, seed=seed, layers=layers)
        found = {which: root / family / which for which in ("student", "teacher")}
        small = (SMALL_IMAGES,) if family.startswith("qwen") else ()
        return *(f"model.pair.{which}={path}" for which, path in found.items()), *small

    return overrides


@pytest.fixture
def step(
    command: Any,
    source: Callable[[str], Path],
    pair_of: Callable[[str], tuple[str, ...]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., dict[str, Any]]:
    """step("qwen3_vl_2b", data, "experiment=...") -> the row of its one step."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()

    def run(model: str, data: str, *overrides: str) -> dict[str, Any]:
        folder = tmp_path / "run"
        local = (*pair_of(model), f"data.rows.source={source(data)}", f"hydra.run.dir={folder}")
        code, err = command(train.main, *overrides, *SHORT, *local)
        assert code == 0, err
        (row,) = read_rows(folder / "metrics.jsonl")
        assert all(math.isfinite(value) for value in row.values())
        return dict(row)

    return run


def model_of(preset: str) -> str:
    return preset.rpartition("/")[2] if preset in CONSTANTS else "internvl3_5_1b"


def data_of(preset: str) -> str:
    return str(CONSTANTS.get(preset, {}).get("data.rows.source", "hiyouga/geometry3k"))


def slowly(names: Any, fast: tuple[str, ...]) -> list[Any]:
    return [pytest.param(x, marks=() if x in fast else pytest.mark.slow) for x in names]


@pytest.mark.parametrize("preset", slowly(PRESETS, FAST))
def test_a_preset_steps(step: Callable[..., dict[str, Any]], preset: str) -> None:
    row = step(model_of(preset), data_of(preset), f"experiment={preset}")
    constants = CONSTANTS.get(preset, {})
    assert row["train/lr"] == constants.get("optimizer.lr", row["train/lr"])
    assert row["grad/norm_language"] > 0
    vision = preset.startswith("vgs")
    assert (row["grad/norm_vision"] > 0) == vision
    assert (row["grad/norm_projector"] > 0) == (vision or preset.startswith("gndpo"))
    assert row["rollout/own"] == 1


@pytest.mark.parametrize("model", OTHERS)
def test_a_pair_without_a_preset_steps(step: Callable[..., dict[str, Any]], model: str) -> None:
    row = step(model, "hiyouga/geometry3k", f"model={model}", "data=geometry3k")
    assert row["grad/norm_vision"] == 0
    assert row["grad/norm_projector"] > 0
    assert row["grad/norm_language"] > 0


@pytest.mark.parametrize("rollout", slowly(GUIDED, ("rollout=prefix_data",)))
@pytest.mark.parametrize("arm", slowly(("release", "formula"), ("release",)))
def test_guidance_steps(step: Callable[..., dict[str, Any]], rollout: str, arm: str) -> None:
    """At the first step all but the last token of an answer is given."""
    preset, advantage = "tropd/r1_distill_1_5b", f"advantage=tropd/{arm}"
    row = step(model_of(preset), data_of(preset), f"experiment={preset}", advantage, rollout)
    assert 0 < row["rollout/own"] < 1


@pytest.mark.slow
@pytest.mark.parametrize(("preset", "arm"), [(p, arm) for p, arms in ARMS.items() for arm in arms])
def test_an_arm_steps(step: Callable[..., dict[str, Any]], preset: str, arm: str) -> None:
    row = step(model_of(preset), data_of(preset), f"experiment={preset}", f"advantage={arm}")
    untaught = arm == "grpo"  # random answers earn nothing
    assert (row["grad/norm"] > 0) != untaught


@pytest.mark.slow
@pytest.mark.parametrize(
    ("preset", "parts"), [("gndpo/internvl3_5_4b", "[projector]"), ("vgs/qwen3_vl_4b", "null")]
)
def test_what_the_files_advise_for_smaller_devices_steps(
    step: Callable[..., dict[str, Any]], preset: str, parts: str
) -> None:
    lora = (f"model.parts={parts}", "model.adapter={r:16,lora_alpha:32}")
    row = step(model_of(preset), data_of(preset), f"experiment={preset}", *lora)
    assert row["grad/norm_language"] > 0
    assert row["grad/norm_vision"] == 0
    assert (row["grad/norm_projector"] > 0) == (parts == "[projector]")


def test_a_pair_that_was_not_published_has_to_be_named(command: Any, tmp_path: Path) -> None:
    where = f"hydra.run.dir={tmp_path / 'run'}"
    code, err = command(train.main, "experiment=tropd/qwen3_sft_1_7b", *SHORT, where)
    assert code != 0
    assert "model.pair" in err
    assert "Traceback" not in err
