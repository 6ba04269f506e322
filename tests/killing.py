"""Runs in processes of their own that say where they are, and are killed there."""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from gndpo import callbacks, checkpoints, train
from gndpo.module import Distillation
from gndpo.runfolder import RunFolder

PLACES = {
    "rollout": (Distillation, "roll"),
    "backward": (Distillation, "manual_backward"),
    "row": (RunFolder, "append"),
    "evaluation": (callbacks, "evaluate"),
    "file of a checkpoint": (checkpoints, "save_file"),
    "name of a checkpoint": (checkpoints, "synced"),
    "old checkpoints": (checkpoints, "prune"),
}
"""What a run tells as it gets there."""

SERVER = get_context("forkserver")
SERVER.set_forkserver_preload(["gndpo.train"])  # torch is imported once


@dataclass(frozen=True)
class Ended:
    """How a run ended, and where it was last."""

    code: int | None
    place: str


def start(arguments: Sequence[str], *, kill: str = "", call: int = 0) -> Ended:
    """gndpo-train in a process of its own; SIGKILL at the given call (from 1) of a place."""
    told, tell = SERVER.Pipe(duplex=False)
    process = SERVER.Process(target=work, args=(tell, list(arguments)))
    process.start()
    tell.close()
    places: list[str] = []
    while told.poll(None):
        try:
            places.append(told.recv())
        except EOFError:
            break
        if places.count(kill) == call > 0 and places[-1] == kill:
            process.kill()
    process.join()
    return Ended(process.exitcode, places[-1] if places else "")


def work(tell: Connection, arguments: list[str]) -> None:
    for place, (owner, name) in PLACES.items():
        setattr(owner, name, telling(getattr(owner, name), place, tell))
    sys.argv = ["gndpo-train", *arguments]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    train.main()


def telling(function: Callable[..., Any], place: str, tell: Connection) -> Callable[..., Any]:
    def instead(*arguments: Any, **options: Any) -> Any:
        tell.send(place)
        return function(*arguments, **options)

    return instead
