"""From config to objects. The only file that imports `hydra.utils`; what may be instantiated is
listed, mistakes become one sentence."""

import functools
import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gndpo.errors import UserError
from gndpo.folders import config_folder as config_folder
from gndpo.signal import Strategy

T = TypeVar("T")

ALLOWED = ("gndpo.", "torch.optim.", "lightning.pytorch.")
"""Modules whose objects a config may name. Users add theirs on purpose:
GNDPO_MODULES=mylab.,other."""


def build(section: DictConfig, where: str) -> Any:
    """Instantiate a section after checking its target and the names of its keys. `where` is its
    place, for messages."""
    check(section, where)
    try:
        built = instantiate(section)
    except InstantiationException as error:
        if isinstance(error.__cause__, UserError):  # ours, which Hydra wraps into its own
            raise error.__cause__ from error
        raise
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
    extra = tuple(prefix for prefix in os.environ.get("GNDPO_MODULES", "").split(",") if prefix)
    if not str(target).startswith(ALLOWED + extra):
        raise UserError(
            f"{where}._target_={target}: only {', '.join(ALLOWED + extra)} may be named; "
            f"set GNDPO_MODULES={str(target).split('.')[0]}. to allow yours"
        )
    try:
        function = get_object(target)
    except Exception as error:  # get_object wraps whatever importing raised
        raise UserError(f"{where}._target_={target} cannot be imported: {error}") from error
    keys = [str(key) for key in section if not str(key).startswith("_")]
    check_keys(
        function,
        keys,
        f"{where}={target.rsplit('.', 1)[-1]}",
        partial=bool(section.get("_partial_")),
    )
    for key in keys:
        check_inside(OmegaConf.select(section, key), f"{where}.{key}")


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


def first_option(group: str) -> str:
    options = sorted((Path(config_folder()) / group).glob("*.yaml"))
    return options[0].stem if options else "..."
