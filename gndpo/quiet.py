"""Libraries' notices that a user of ours can do nothing about."""

import logging
import os
import warnings

import transformers


def quiet() -> None:
    warnings.filterwarnings("ignore", module="lightning")
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    os.environ.setdefault("WANDB_SILENT", "true")
