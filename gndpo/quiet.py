"""Libraries' notices that a user of ours can do nothing about."""

import logging
import os
import warnings

import transformers


def quiet() -> None:
    warnings.filterwarnings("ignore", module="lightning")
    for name in ("lightning.pytorch", "httpx"):
        logging.getLogger(name).setLevel(logging.WARNING)
    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    os.environ.setdefault("WANDB_SILENT", "true")
