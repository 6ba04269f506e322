"""`gndpo-train rollout=vllm`, whole, until it is killed without warning."""

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from engines.processes import await_end, group

from gndpo.runfolder import read_rows
from tests.real_vllm.conftest import ARGUMENTS, Checkpoint

pytestmark = pytest.mark.vllm

ENOUGH = 3
"""Steps; each but the first writes with weights that the one before has changed."""
SETTINGS = [
    "model=checkpoints",
    "advantage=raw_kl",
    "rollout=vllm",
    f"rollout.writer.arguments='{ARGUMENTS}'",
    "rollout.writer.start_s=1800",
    "logger=none",
    "steps=1000",
    "prompts=3",
    "rollout.group=2",
    "rollout.max_tokens=6",
    "data.max_prompt_tokens=400",
    "eval.validation=2",
    "eval.test=2",
    "eval.k=0",
    "schedule.warmup=0",
    "optimizer.lr=0.01",
]


def pair_of(checkpoint: Checkpoint, family: str) -> list[str]:
    return [
        f"model.pair.{which}={checkpoint(family, seed)}"
        for seed, which in enumerate(("student", "teacher"))
    ]


def leader(owner: int) -> int:
    """The process that holds a run's server."""
    children = Path(f"/proc/{owner}/task/{owner}/children").read_text().split()
    (found,) = [int(child) for child in children if len(group(int(child))) > 1]
    return found


def test_a_run_writes_with_its_newest_weights_and_leaves_nothing_behind(
    python: str, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    own = [*pair_of(checkpoint, "internvl"), f"hydra.run.dir={folder}"]
    command = [sys.executable, "-m", "gndpo.train", *SETTINGS, *own]
    rows = []
    with (tmp_path / "said").open("w") as said, subprocess.Popen(command, stderr=said) as run:
        while len(rows) < ENOUGH and run.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                run.wait(0.5)
            rows = list(read_rows(folder / "metrics.jsonl"))
        assert run.poll() is None, (tmp_path / "said").read_text()[-2000:]
        server = leader(run.pid)
        members = group(server)
        run.kill()
    await_end(members, 60.0)
    assert not group(server)
    for row in rows:
        assert 0 < row["policy/behaviour_gap"] < 1e-3
        assert row["train/updates"] == row["step"]


@pytest.mark.parametrize("trainer", ["ddp", "fsdp"])
def test_ranks_share_a_server_that_has_their_newest_weights(
    python: str, checkpoint: Checkpoint, tmp_path: Path, trainer: str
) -> None:
    """Three prompts, two ranks. Of a student in shards no rank has what the server loads."""
    ranks = [f"trainer={trainer}", "trainer.devices=2", "trainer.accelerator=cpu"]
    own = [*pair_of(checkpoint, "internvl"), *ranks]
    own += [f"steps={ENOUGH}", f"hydra.run.dir={tmp_path}"]
    subprocess.run([sys.executable, "-m", "gndpo.train", *SETTINGS, *own], check=True)
    rows = list(read_rows(tmp_path / "metrics.jsonl"))
    assert [row["train/updates"] for row in rows] == list(range(1, ENOUGH + 1))
    assert all(0 < row["policy/behaviour_gap"] < 1e-3 for row in rows)
