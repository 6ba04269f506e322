"""TensorBoard: event files below the run folder."""

import shutil
from importlib.util import find_spec
from pathlib import Path

from lightning.pytorch.loggers import TensorBoardLogger

from gndpo.errors import UserError


def tensorboard(*, folder: str) -> TensorBoardLogger:
    """Numbers in <run folder>/tensorboard; a continued run is written anew from its first row."""
    if find_spec("tensorboard") is None:
        raise UserError(
            "logger=tensorboard needs a package that is not installed; type "
            "pip install 'gndpo[tensorboard]'"
        )
    shutil.rmtree(Path(folder) / "tensorboard", ignore_errors=True)
    return TensorBoardLogger(folder, name="tensorboard", version="", default_hp_metric=False)
