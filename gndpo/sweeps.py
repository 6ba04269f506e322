"""A sweep as a whole: which jobs are running, which finished, which failed and why. Read from
the run folders."""

import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from gndpo.runfolder import RunFolder

STARTED: list[Path] = []
"""The folder of the sweep that this process launched, if it did."""


class NoteSweep(Callback):
    """Remembers where the sweep writes, for the summary after it."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        STARTED.append(Path(config.hydra.sweep.dir))


def summarize() -> None:
    """How many jobs finished, and for those that did not, why."""
    for folder in STARTED:
        statuses = [RunFolder(file.parent).status() for file in sorted(folder.glob("**/run.json"))]
        unfinished = [status for status in statuses if status["status"] != "completed"]
        print(
            f"{folder}: {len(statuses) - len(unfinished)} of {len(statuses)} jobs finished",
            file=sys.stderr,
        )
        for status in unfinished:
            print(f"  {status['name']}: {status['status']}: {status['reason']}", file=sys.stderr)
