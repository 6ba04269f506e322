"""Command lines before Hydra reads them, and names of folders made of them."""

import hashlib
import re
from collections.abc import Sequence

from omegaconf import OmegaConf

from gndpo.secrets import HIDDEN, without_secrets

FOLDERS = ("run", "to", "out", "hydra.run.dir")
"""Keys whose values are folders."""
PLAIN = re.compile(r"""[\w./\\:~@%+-]*|(['"]).*\1""")
"""What Hydra's grammar takes without quotes, or what has them."""
LONGEST = 200
"""Characters of a folder's name; file systems end at 255."""


def quoted(arguments: Sequence[str]) -> list[str]:
    """run=runs/mine/advantage=gndpo,seed=0 with the quotes that its signs need."""
    return [quoted_folder(*argument.partition("=")) for argument in arguments]


def quoted_folder(key: str, sign: str, value: str) -> str:
    if key not in FOLDERS or PLAIN.fullmatch(value) or "'" in value:
        return f"{key}{sign}{value}"
    return f"{key}='{value}'"


def folder_name(overrides: str) -> str:
    """A job's overrides as the name of one folder: no slashes, no secrets, and not too long."""
    name = str(without_secrets(overrides.replace("/", "-"))).replace(HIDDEN, "hidden")
    if len(name) <= LONGEST:
        return name
    return f"{name[: LONGEST - 9]}-{hashlib.sha256(overrides.encode()).hexdigest()[:8]}"


OmegaConf.register_new_resolver("folder_name", folder_name, replace=True)
