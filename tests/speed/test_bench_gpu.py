"""The same code as on a GPU, on the CPU at a tiny size."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import pairs
from benchmarks.cases import TINY
from benchmarks.gpu import compared, parsed


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_rollout_update_and_memory_at_a_tiny_size(device: str, tmp_path: Path) -> None:
    pairs.write(replace(TINY, prompt=64), tmp_path, steps=1)
    sizes = ["--prompts", "2", "--group", "2", "--tokens", "5", "--rows", "2", "--square", "64"]
    image = ["--side", str(pairs.SMALL), "--places", "4", "--dtype", "float32"]
    where = [str(tmp_path / "student"), str(tmp_path / "teacher"), "--device", device]
    found = compared(parsed([*where, *sizes, *image, "updates.micro=1"]))
    assert (found["G"], found["P"], found["T"], found["L"]) == (2, 2, 5, 64)
    assert {"gndpo", "generate"} <= {*found["sides"]}
    for side in found["sides"].values():
        assert side["tokens_per_s"] == pytest.approx(20 / side["rollout"])
        assert side["peak"] > 0
    assert found["bandwidth_tokens_per_s"] > found["sides"]["gndpo"]["tokens_per_s"]
    assert found["utilisation"] > 0
