"""What no rank can do alone with a student in shards."""

import subprocess
import sys
from pathlib import Path

import pytest

SPLIT = ["trainer=fsdp", "trainer.devices=2", "trainer.accelerator=cpu"]


@pytest.mark.dist
def test_an_adapter_in_shards_is_not_merged_for_a_server(small: list[str], tmp_path: Path) -> None:
    """Refused before a server is started: there is none here."""
    own = [
        *("model.dtype=float32", "model.adapter={r: 2, lora_alpha: 4}", "rollout=vllm"),
        f"rollout.writer.python={sys.executable}",
    ]
    command = [sys.executable, "-m", "gndpo.train", *small, *own, *SPLIT]
    ended = subprocess.run(
        [*command, f"hydra.run.dir={tmp_path}"], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    told = [x for x in ended.stderr.splitlines() if x.startswith("rollout=vllm with an adapter")]
    assert told
    assert "use trainer=ddp, or trainer.strategy.student=false" in told[0]
