"""Where the configuration lies; imports nothing, so that commands that only read start fast."""

from pathlib import Path


def config_folder() -> str:
    """conf/ of the checkout, or the copy inside an installed wheel."""
    package = Path(__file__).parent
    inside = package / "conf"
    return str(inside if inside.exists() else package.parent / "conf")
