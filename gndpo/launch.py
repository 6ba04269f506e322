"""A run of several processes on one machine: this command once more for every rank. torchrun does
the same over several machines."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from gndpo.arguments import quoted
from gndpo.engines.server import free_port
from gndpo.errors import UserError
from gndpo.preemption import NOTICE, waiting
from gndpo.runfolder import RunFolder

Rank = subprocess.Popen[bytes]

GRACE = 10.0
"""Seconds."""

HINT = "HYDRA_FULL_ERROR"
"""Of Hydra's line below every error."""


def ranks_to_start(trainer: DictConfig) -> int:
    """How many processes a trainer asks this one to start; 0: it works itself."""
    if "strategy" not in trainer:
        if trainer.get("devices") != 1:
            raise UserError(
                f"trainer.devices={trainer.get('devices')}: this trainer is one process; use "
                "trainer=ddp or trainer=fsdp for several"
            )
        return 0
    if "RANK" in os.environ:
        return 0
    if trainer.num_nodes != 1:
        raise UserError(
            f"trainer.num_nodes={trainer.num_nodes}: start every node with torchrun, for example "
            f"torchrun --nnodes {trainer.num_nodes} --nproc-per-node 8 --rdzv-backend c10d "
            "--rdzv-endpoint <first node>:29500 -m gndpo.train ..."
        )
    if trainer.devices != "auto":
        return int(trainer.devices)
    return torch.cuda.device_count() or len(os.sched_getaffinity(0))


def launch(count: int, folder: Path, settings: Any, *, again: bool) -> None:
    """Run the ranks to their end; a notice goes to all of them. again: the folder may be in use."""
    command = [sys.executable, "-m", "gndpo.train", *searched(settings), *overrides(settings)]
    command += quoted([f"hydra.run.dir={folder}", *(["ckpt=last"] if again else [])])
    threads = max(1, len(os.sched_getaffinity(0)) // count)
    shared = {
        **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(count)},
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads)),
    }
    with ExitStack() as stack, waiting(True):
        logs = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(1, count)]
        ranks = []
        for rank, log in enumerate([None, *logs]):  # the first speaks for all
            own = os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            ranks.append(subprocess.Popen(command, env=own, stdout=log, stderr=log))
        stack.callback(end, ranks)
        failed = follow(ranks)
        end(ranks)
        if failed is not None and not NOTICE.given:
            raise UserError(reason(failed, RunFolder(folder), logs))


def follow(ranks: Sequence[Rank]) -> int | None:
    """Until all have ended, or one failed: which one."""
    told = False
    while True:
        codes = [rank.poll() for rank in ranks]
        failed = [i for i, code in enumerate(codes) if code]
        if failed and not NOTICE.given:
            return failed[0]
        if None not in codes:
            return failed[0] if failed else None
        if NOTICE.given and not told:
            told = True
            for rank in ranks:
                rank.terminate()
        try:
            ranks[codes.index(None)].wait(0.2)
        except subprocess.TimeoutExpired:
            continue


def end(ranks: Sequence[Rank]) -> None:
    """None outlives the others by more than GRACE: one that waits for a rank that failed hears of
    it, and says so in its run folder."""
    for rank in ranks:
        try:
            rank.wait(GRACE)
        except subprocess.TimeoutExpired:
            rank.kill()
            rank.wait()


def reason(failed: int, folder: RunFolder, logs: Sequence[Any]) -> str:
    """Why a rank failed: what the first wrote into run.json, or what another one said last."""
    if failed == 0:
        return f"the first of the processes failed: {folder.seen().get('reason')}"
    log = logs[failed - 1]
    log.seek(0)
    lines = [x for x in log.read().decode(errors="replace").splitlines() if x and HINT not in x]
    said = f"process {failed}: {lines[-1] if lines else 'ended without a word'}"
    folder.write_status(status="failed", reason=said)
    return said


def overrides(settings: Any) -> list[str]:
    return quoted(settings.overrides.task)


def searched(settings: Any) -> list[str]:
    """Where else than in conf/ options were looked for."""
    more = [x for x in settings.overrides.hydra if x.startswith("hydra.searchpath=")]
    dirs = [x.path for x in settings.runtime.config_sources if x.provider == "command-line"]
    return [*(part for path in dirs for part in ("--config-dir", path)), *more]
