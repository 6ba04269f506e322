"""From config to objects. The only file that imports `hydra.utils`; what may be instantiated is
listed, mistakes become one sentence."""

import functools
import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gndpo.errors import UserError
from gndpo.folders import config_folder as config_folder
from gndpo.signal import Strategy

T = TypeVar("T")

OURS = (
    *("advantages.", "benchmarks.benchmark.", "benchmarks.special_scores.", "data.", "engines."),
    *("loggers.", "grading.graders.", "models.load.Pair", "pretrain.", "rewards.", "sharding."),
    *("supervised.", "surrogates.", "teachers.", "terminal.", "writers."),
)
LIGHTNING = (
    *("Trainer", "trainer.", "callbacks.", "loggers.", "plugins.", "profilers.", "strategies."),
)
ALLOWED = (
    *(f"gndpo.{name}" for name in OURS),
    "torch.optim.",
    *(f"lightning.pytorch.{name}" for name in LIGHTNING),
)
"""How names of functions and classes begin that a config may use; what uploads files or reads
pickles is not among them. Users add theirs on purpose: GNDPO_MODULES=mylab.,other."""
NAMED = "gndpo's parts, torch.optim, lightning.pytorch and GNDPO_MODULES"
SPECIAL = {
    "_target_": str,
    "_partial_": bool,
    "_recursive_": bool,
    "_convert_": str,
    "_args_": ListConfig,
}
"""Hydra's own keys of a section, and what they hold."""


def build(section: DictConfig, where: str) -> Any:
    """Instantiate a section after checking its target and the names of its keys. `where` is its
    place, for messages."""
    check(section, where)
    try:
        built = instantiate(section)
    except (InstantiationException, OmegaConfBaseException) as error:
        cause = error.__cause__
        if isinstance(cause, UserError):  # ours, which Hydra wraps into its own
            raise cause from error
        reason = str(cause or error).partition("\n")[0]
        raise UserError(f"{where} cannot be built: {reason}; check its values") from error
    if isinstance(
        built, functools.partial
    ):  # Hydra's own subclass re-checks its target at each call
        return functools.partial(built.func, *built.args, **built.keywords)
    return built


def build_advantage(section: DictConfig) -> Strategy:
    """The strategy of `cfg.advantage`: scores -> Signal."""
    strategy: Strategy = build(section, "advantage")
    return strategy


def check(section: DictConfig, where: str) -> None:
    """Every target is allowed and exists, and takes the keys it is given: `_partial_` would hide
    a typo until the first call."""
    target = section.get("_target_") if isinstance(section, DictConfig) else None
    if target is None:
        raise UserError(
            f"{where}: there is no _target_; choose an option of the group, "
            f"for example {where}={first_option(where)}"
        )
    for key, kinds in SPECIAL.items():
        if key in section and not isinstance(section[key], kinds):
            raise UserError(f"{where}.{key}={section[key]} is not what Hydra takes; leave it out")
    function = find(str(target), where)
    keys = [str(key) for key in section if key not in SPECIAL]
    check_keys(
        function,
        keys,
        f"{where}={str(target).rsplit('.', 1)[-1]}",
        partial=bool(section.get("_partial_")),
    )
    for name in section:
        check_inside(section[name], f"{where}.{name!s}")


def find(target: str, where: str) -> Callable[..., Any]:
    """The function or class of a target. Its name and the place that defines it are both allowed:
    `gndpo.data.images.io.open` is Python's own."""
    extra = tuple(prefix for prefix in os.environ.get("GNDPO_MODULES", "").split(",") if prefix)
    begins = f"{where}._target_={target}: only functions and classes of {NAMED} may be named"
    if not target.startswith(ALLOWED + extra):
        raise UserError(f"{begins}; set GNDPO_MODULES={target.split('.')[0]}. to allow yours")
    try:
        found = get_object(target)
    except Exception as error:  # get_object wraps whatever importing raised
        raise UserError(f"{where}._target_={target} cannot be imported: {error}") from error
    name = str(getattr(found, "__qualname__", ""))
    place = f"{getattr(found, '__module__', '')}.{name}"
    if not callable(found) or not name or "." in name or not place.startswith(ALLOWED + extra):
        raise UserError(f"{begins}, and this is {place if name else type(found).__name__}")
    return cast(Callable[..., Any], found)


def check_inside(value: Any, where: str) -> None:
    """Whatever `instantiate` would build at any depth."""
    if isinstance(value, DictConfig) and "_target_" in value:
        check(value, where)
    elif isinstance(value, DictConfig):
        for key in value:
            check_inside(value[key], f"{where}.{key!s}")
    elif isinstance(value, ListConfig):
        for item in value:
            check_inside(item, where)


def check_keys(function: Callable[..., Any], keys: list[str], where: str, *, partial: bool) -> None:
    parameters = inspect.signature(function).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return
    knobs = [
        p.name
        for p in parameters
        if p.kind is p.KEYWORD_ONLY or not partial or p.default is not p.empty
    ]
    for key in keys:
        if key not in knobs:
            raise UserError(
                f"{where}: unknown key '{key}' "
                f"({function.__name__} takes: {', '.join(knobs) or 'nothing'})"
            )
    needed = [p.name for p in parameters if p.name in knobs and p.default is p.empty]
    for name in needed:
        if name not in keys:
            raise UserError(
                f"{where}: key '{name}' is missing ({function.__name__} takes: {', '.join(knobs)})"
            )


def build_settings(kind: Callable[..., T], where: str, section: DictConfig, **more: Any) -> T:
    """A settings object from a section's values, its keys checked like a target's."""
    values = {str(key): value for key, value in section.items()}
    check_keys(kind, list(values | more), where, partial=False)
    return kind(**values, **more)


def resolve(cfg: DictConfig) -> None:
    """Resolve every interpolation, or say which one cannot be."""
    try:
        OmegaConf.resolve(cfg)
    except OmegaConfBaseException as error:
        raise UserError(
            f"the configuration cannot be resolved: {str(error).splitlines()[0]}"
        ) from error
    missing = sorted(OmegaConf.missing_keys(cfg))
    if missing:
        raise UserError(f"{missing[0]} has no value yet (???); type {missing[0]}=<value>")


def first_option(group: str) -> str:
    options = sorted((Path(config_folder()) / group).glob("*.yaml"))
    return options[0].stem if options else "..."
