"""How many processes a trainer starts, and what becomes of them."""

import subprocess
import sys

import pytest
from omegaconf import OmegaConf

from gndpo import launch, ranks, shares
from gndpo.errors import UserError

TOGETHER = {"strategy": {"_target_": "gndpo.sharding.Together"}, "num_nodes": 1}


def started(*scripts: str) -> list[launch.Rank]:
    return [subprocess.Popen([sys.executable, "-c", script]) for script in scripts]


def test_one_process_works_itself() -> None:
    assert launch.ranks_to_start(OmegaConf.create({"devices": 1})) == 0


def test_several_processes_need_a_strategy() -> None:
    with pytest.raises(UserError, match="use trainer=ddp or trainer=fsdp"):
        launch.ranks_to_start(OmegaConf.create({"devices": 2}))


def test_as_many_as_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    assert launch.ranks_to_start(OmegaConf.create({**TOGETHER, "devices": 3})) == 3


def test_a_rank_starts_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    assert launch.ranks_to_start(OmegaConf.create({**TOGETHER, "devices": 3})) == 0


def test_several_machines_are_torchruns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(UserError, match="torchrun --nnodes 2"):
        launch.ranks_to_start(OmegaConf.create({**TOGETHER, "devices": 3, "num_nodes": 2}))


def test_the_first_that_fails_is_named() -> None:
    processes = started("import time; time.sleep(60)", "raise SystemExit(3)")
    assert launch.follow(processes) == 1
    processes[0].kill()
    processes[0].wait()


def test_all_that_end_well_are_waited_for() -> None:
    processes = started("", "import time; time.sleep(0.3)")
    assert launch.follow(processes) is None
    assert [process.returncode for process in processes] == [0, 0]


@pytest.mark.parametrize(("prompts", "minibatches", "size"), [(5, 1, 2), (7, 2, 3), (8, 4, 2)])
def test_places_are_dealt_once(
    monkeypatch: pytest.MonkeyPatch, prompts: int, minibatches: int, size: int
) -> None:
    """Every prompt of every minibatch is one rank's, and shares differ by one at most."""
    monkeypatch.setattr(ranks, "size", lambda: size)
    dealt = []
    for rank in range(size):
        monkeypatch.setattr(ranks, "rank", lambda rank=rank: rank)
        dealt.append(ranks.places(prompts, minibatches))
    assert sorted(place for own in dealt for place in own) == list(range(prompts))
    for i in range(minibatches):
        start, stop = i * prompts // minibatches, (i + 1) * prompts // minibatches
        counts = [len(ranks.within(own, start, stop)) for own in dealt]
        assert max(counts) - min(counts) <= 1


def test_every_rank_needs_a_prompt_of_every_update(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "size", lambda: 3)
    shares.check_shares(6, 2)
    with pytest.raises(UserError, match=r"prompts=5 in updates\.minibatches=2 are too few for 3"):
        shares.check_shares(5, 2)
