"""A sweep as a whole, read from its run folders: how far each job is, which failed and why."""

import math
import os
import re
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from gndpo import resources
from gndpo.build import config_folder
from gndpo.disk import writing
from gndpo.errors import UserError
from gndpo.runfolder import RunFolder

PARALLEL = "GNDPO_PARALLEL_SWEEP"
"""Set in the environment of jobs that run side by side, to the process that launched them: the
sweep shows their progress, they do not."""


RUNNING: "list[Follower]" = []
"""The sweep that this process launched, if it did."""


FOLDER_GLOB = re.compile(r"([^=]+)=glob\(((?:[\w-]+/)+)\*\)")


def expand_folders(arguments: Sequence[str]) -> list[str]:
    """experiment=glob(methods/*) as the list of the options in that folder of the group: Hydra's
    own glob sees the group's first level only."""
    expanded = []
    for argument in arguments:
        found = FOLDER_GLOB.fullmatch(argument)
        if found:
            group, folder = found.groups()
            files = sorted(Path(config_folder(), group, folder).glob("*.yaml"))
            argument = f"{group}={','.join(f'{folder}{file.stem}' for file in files)}"
        expanded.append(argument)
    return expanded


class Sweep(Callback):
    """Hydra's callback; launchers send it to their workers, so it holds nothing."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        make(Path(config.hydra.run.dir))

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        make(Path(config.hydra.sweep.dir))
        parallel = "basic" not in config.hydra.launcher._target_
        preset = config.hydra.sweeper.get("params") or {}
        grid = [f"{key}={values}" for key, values in preset.items()]
        jobs = count_jobs([*grid, *config.hydra.overrides.task])
        RUNNING.append(Follower(Path(config.hydra.sweep.dir), jobs, parallel))

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        resources.deal(config.hydra.launcher)


def make(folder: Path) -> None:
    """Hydra would, with a traceback where that fails; of its callbacks it heeds only exits."""
    try:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
    except UserError as error:
        sys.exit(str(error))


class Follower:
    """Watches the folder of the sweep that this process launched."""

    def __init__(self, folder: Path, jobs: int, parallel: bool) -> None:
        self.folder, self.jobs = folder, jobs
        self.before = {name: status for name, status, _ in progress(folder)}
        self.finished = threading.Event()
        self.thread = threading.Thread(target=self.follow, daemon=True)
        if parallel:
            os.environ[PARALLEL] = str(os.getpid())
            self.thread.start()

    def follow(self) -> None:
        """A bar for the sweep and one per running job, on a terminal; a line per ended job
        elsewhere. Every look reads all logs, perhaps over a network: the more jobs, the rarer."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, TimeElapsedColumn(), disable=not sys.stderr.isatty()) as bars:
            whole = bars.add_task(f"{self.folder}", total=self.jobs)
            tasks: dict[str, Any] = {}
            ended: set[str] = set()
            over = False
            while not over:
                over = self.finished.wait(max(1.0, self.jobs / 10))
                for name, status, step in progress(self.folder):
                    if status == self.before.get(name) and status["status"] != "completed":
                        continue  # left by an earlier start, not yet taken up again
                    if status["status"] != "running" and name not in ended:
                        ended.add(name)
                        total = max(self.jobs, len(ended))
                        bars.update(whole, completed=len(ended), total=total)
                        if bars.disable:
                            print(
                                f"{len(ended)}/{total} {name}: {status['status']}",
                                file=sys.stderr,
                            )
                    if name not in tasks and status["status"] == "running":
                        label = f"  {status['strategy']}, seed {status['seed']}"
                        tasks[name] = bars.add_task(label, total=status["steps"])
                    if name in tasks:
                        bars.update(tasks[name], completed=step, visible=name not in ended)

    def stop(self) -> None:
        self.finished.set()
        if os.environ.pop(PARALLEL, None):
            self.thread.join()


def count_jobs(overrides: Sequence[str]) -> int:
    """The size of the grid that the overrides span."""
    instance = GlobalHydra.instance()
    loader = instance.config_loader() if instance.is_initialized() else None  # needed by glob(*)
    parsed = OverridesParser.create(config_loader=loader).parse_overrides(list(overrides))
    return math.prod(
        len(list(override.sweep_string_iterator()))
        for override in parsed
        if override.is_sweep_override()
    )


def progress(folder: Path) -> list[tuple[str, dict[str, Any], int]]:
    """(name, run.json, steps done) of every run folder below."""
    found = []
    for file in sorted(folder.glob("**/run.json")):
        try:
            status = RunFolder(file.parent).seen()
        except UserError as error:
            status = {
                "name": file.parent.name,
                "status": "unreadable",
                "reason": str(error),
                "steps": 0,
            }
        metrics = file.parent / "metrics.jsonl"
        steps = metrics.read_bytes().count(b"\n") if metrics.exists() else 0
        found.append((status["name"], status, steps))
    return found


def summarize() -> None:
    """How many jobs finished, and for those that did not, why."""
    while RUNNING:
        follower = RUNNING.pop()
        follower.stop()
        statuses = [status for _, status, _ in progress(follower.folder)]
        unfinished = [status for status in statuses if status["status"] != "completed"]
        done = len(statuses) - len(unfinished)
        jobs = max(follower.jobs, len(statuses))
        print(f"{follower.folder}: {done} of {jobs} jobs finished", file=sys.stderr)
        for status in unfinished:
            print(f"  {status['name']}: {status['status']}: {status['reason']}", file=sys.stderr)
