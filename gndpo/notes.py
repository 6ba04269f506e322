"""What Hydra writes of a sweep by itself, multirun.yaml: it holds no secrets."""

import atexit
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig


class Notes(Callback):
    """Hydra's callback. The file is written between the two: hidden by the first job, and at the
    end where no job could start."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        atexit.register(hide, config)

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        if config.hydra.mode == RunMode.MULTIRUN:
            hide(config)


def hide(config: DictConfig) -> None:
    from gndpo.runfolder import hide_secrets  # torch takes seconds to import

    hide_secrets(Path(config.hydra.sweep.dir) / "multirun.yaml")
