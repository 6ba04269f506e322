"""What was mistyped on a command line that Hydra reads, in one sentence; Hydra itself would print
paragraphs."""

from collections.abc import Sequence
from pathlib import Path
from traceback import extract_tb

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from gndpo.errors import UserError
from gndpo.folders import config_folder
from gndpo.listing import close, groups

LONGEST = 200
"""Characters of what was typed, or of what Hydra says about it."""
COMPOSE = "load_configuration"
"""Hydra's function that composes. What fails inside of it, whatever the type, is about what was
typed: advantage=1 is a ValueError, a key of 300 letters the file system's error."""


def sentence(error: BaseException) -> str | None:
    """On one line; None: no mistake of the user, but a fault of the program."""
    text = reason(error)
    return None if text is None else " ".join(text.split())


def reason(error: BaseException) -> str | None:
    match error, error.__cause__:
        case UserError(), _:
            return str(error)
        case MissingConfigException(missing_cfg_file=str(place)), _ if "/" in place:
            return no_option(place, error.options or ())
        case OverrideParseException(), _:
            return unreadable(error.override)
        case HydraException(), ConfigAttributeError() | ConfigKeyError() as missing:
            return no_key(missing)
        case HydraException(), cause:
            return brief(f"{error} {cause or ''}")
        case OmegaConfBaseException(), _:
            return f"the configuration cannot be resolved: {brief(str(error))}"
    if any(frame.name == COMPOSE for frame in extract_tb(error.__traceback__)):
        how = "type <group>=<option> or <key>=<value>"
        return f"no configuration can be composed from what was typed: {brief(str(error))}; {how}"
    return None


def no_option(place: str, options: Sequence[str]) -> str:
    """place: the file that was looked for, `advantage/gndpoo`. options: of its group; those in
    folders of the group are in conf/."""
    group = place.rpartition("/")[0] if place.startswith("hydra/") else place.partition("/")[0]
    typed = place.removeprefix(f"{group}/")
    folder = Path(config_folder(), group)
    inside = [file.relative_to(folder).with_suffix("") for file in folder.glob("**/*.yaml")]
    known = sorted({*options, *(path.as_posix() for path in inside)})
    near = close(typed, known)
    meant = " or ".join(f"{group}={name}" for name in near)
    other = f"did you mean {meant}?" if near else f"choose one of {', '.join(options or known)}"
    return f"{group}={typed:.{LONGEST}}: there is no such option; {other}"


def no_key(error: OmegaConfBaseException) -> str:
    """The keys beside it; at the top also groups, whose options bring several."""
    place, parent = str(error.full_key), error.parent_node
    above = place.rpartition(".")[0]
    inside = [str(key) for key in parent or ()] if isinstance(parent, DictConfig) else []
    known = [key for key in inside if not key.startswith("_") and key != "hydra"]
    near = close(place.rpartition(".")[2], known if above else [*known, *groups()])
    meant = " or ".join(f"{above}.{name}".lstrip(".") for name in dict.fromkeys(near))
    others = f"{above or 'the configuration'} has {', '.join(known) or 'no keys'}"
    other = f"did you mean {meant}?" if near else others
    return f"{place:.{LONGEST}}: there is no such key; {other}"


def unreadable(override: str) -> str:
    return (
        f"{override:.{LONGEST}} cannot be read; type key=value, and a value that has spaces or "
        "signs in quotes: 'key=\"a, b\"'"
    )


def brief(text: str) -> str:
    """Without what OmegaConf tells about the place in its own terms."""
    return text.partition("\n    full_key")[0][: 2 * LONGEST]
