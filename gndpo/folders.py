"""Where the configuration lies and results go; imports little, so that commands that only read
start fast."""

from pathlib import Path


def config_folder() -> str:
    """conf/ of the checkout, or the copy inside an installed wheel."""
    package = Path(__file__).parent
    inside = package / "conf"
    return str(inside if inside.exists() else package.parent / "conf")


def made(folder: Path, option: str) -> Path:
    """The folder, made where it is missing. option: the one that names another."""
    from gndpo.errors import UserError  # brings Hydra

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UserError(f"{folder}: is a file; name a folder with {option}") from None
    return folder
