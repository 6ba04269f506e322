"""Weights & Biases: one run beside each run folder, offline unless asked."""

import logging
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import wandb
from lightning.pytorch.loggers.logger import Logger

from gndpo.errors import UserError
from gndpo.loggers.description import run_name, tags
from gndpo.loggers.pictures import decoded
from gndpo.runfolder import RunFolder
from gndpo.secrets import without_secrets

log = logging.getLogger(__name__)

EXTREMES = "min,max,last"
SPREADING = ("eval/", "grad/norm")
"""What the summary keeps of metrics with these first letters; of all others, the last value."""

COLUMNS = (
    *("step", "image", "prompt", "answer", "truth", "reward", "correct"),
    *("most extreme token", "its log-ratio, nats"),
)
"""Of the table of samples."""


class Wandb(Logger):
    """The run folder in W&B. The run keeps its id when it is continued: offline it is written anew
    from the folder's first row (syncing replaces what was sent before), online W&B goes on behind
    the last row that it has. Where W&B cannot be reached within init_timeout, the run is written
    offline; at its end it sends for at most finish_timeout. Both in seconds."""

    def __init__(
        self,
        *,
        folder: str,
        project: str,
        entity: str | None,
        group: str,
        tags: Sequence[str],
        offline: bool,
        init_timeout: float,
        finish_timeout: float,
    ) -> None:
        super().__init__()
        self.folder = RunFolder(Path(folder))
        self.project, self.entity, self.group = map(without_secrets, (project, entity, group))
        self.tags, self.offline = without_secrets([*tags]), offline
        self.timeouts = wandb.Settings(
            init_timeout=init_timeout, finish_timeout=finish_timeout, finish_timeout_raises=True
        )
        self.spreading: set[str] = set()

    @property
    def name(self) -> str:
        return str(self.project)

    @property
    def version(self) -> str:
        return str(self.run.id)

    def log_hyperparams(self, params: Any) -> None:
        """Open the run: its name, tags and configuration are of these."""
        try:
            self.open(params)
        except (wandb.errors.AuthenticationError, wandb.errors.UsageError) as error:
            raise UserError(
                f"W&B refused the run ({error}); type `wandb login` once, or leave logger=wandb, "
                "which writes offline"
            ) from error
        except wandb.Error as error:
            if self.offline:
                raise UserError(f"W&B cannot write offline ({error}); use logger=none") from error
            reason = " ".join(str(error).split())
            text = "W&B cannot be reached (%s): the run is written offline, send it later with `%s`"
            log.warning(text, reason, f"wandb sync {self.folder.path}/wandb/offline-run-*")
            self.offline = True
            self.open(params)
        self.folder.write_status(wandb=self.run.id)
        self.run.define_metric("step", hidden=True)
        self.run.define_metric("*", step_metric="step")

    def open(self, params: Any) -> None:
        shutil.rmtree(self.folder.path / "wandb", ignore_errors=True)
        os.environ["WANDB_DATA_DIR"] = str(self.folder.path / "wandb" / "data")  # tables' images
        self.run = wandb.init(
            id=self.folder.status().get("wandb"),
            resume=None if self.offline else "allow",
            mode="offline" if self.offline else "online",
            dir=self.folder.path,
            project=self.project,
            entity=self.entity,
            group=self.group,
            job_type="train",
            name=run_name(params),
            tags=[*tags(params), *self.tags],
            config=params,
            settings=self.timeouts,
        )

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        new = {name for name in metrics if name.startswith(SPREADING)} - self.spreading
        for name in sorted(new):  # by name: W&B takes any one of several patterns that fit
            self.run.define_metric(name, step_metric="step", summary=EXTREMES)
        self.spreading |= new
        self.log(dict(metrics), step or 0)

    def log_samples(self, samples: Sequence[dict[str, Any]], step: int) -> None:
        table = wandb.Table(list(COLUMNS), [sample_row(sample) for sample in samples])
        self.log({"samples/answers": table}, step)

    def log_figures(self, figures: Mapping[str, Any], step: int) -> None:
        self.log({f"figures/{name}": wandb.Image(x) for name, x in figures.items()}, step)

    def log(self, row: dict[str, Any], step: int) -> None:
        """What an online run has already, it keeps."""
        if step >= self.run.starting_step:
            self.run.log({"step": step, **row}, step=step)

    def finalize(self, status: str) -> None:
        """A service process that died cannot be ended: W&B then forgets it, so that the next job of
        a sweep starts another."""
        try:
            self.run.finish(exit_code=0 if status == "success" else 1)
        except TimeoutError:
            sent = f"wandb sync {self.folder.path}/wandb/run-*"
            log.warning("W&B did not take all rows in time; send them later with `%s`", sent)
        except OSError:
            with suppress(OSError):
                wandb.teardown()
            wandb.run = None


def sample_row(sample: Mapping[str, Any]) -> list[Any]:
    """In the order of COLUMNS; the token whose log-ratio is farthest from 0."""
    tokens = sample["tokens"]
    pairs = zip(tokens["teacher"], tokens["student"], strict=True)
    ratios = [-math.inf if None in pair else pair[0] - pair[1] for pair in pairs]
    extreme = max(range(len(ratios)), key=lambda i: abs(ratios[i]), default=None)
    images = [wandb.Image(decoded(image)) for image in sample["images"]]
    return [
        *(sample["step"], images[0] if images else None),
        *(sample[name] for name in COLUMNS[2:7]),
        *(("", 0.0) if extreme is None else (tokens["text"][extreme], round(ratios[extreme], 4))),
    ]
