"""What a logger is told about a run: its configuration, where it ran, a name and tags."""

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from gndpo.secrets import without_secrets

IDENTITY = (
    *("strategy", "experiment", "overrides", "config_hash"),
    *("git_commit", "versions", "device", "threads"),
)
"""What a logger gets of run.json."""

UNNAMED = {"seed", "sweep", "ckpt", "logger", "callbacks", "cache_dir"}
"""Overrides that do not tell two runs apart, or stand in the name anyway."""
LONGEST = 120
"""Characters of a name; W&B takes 128."""


def description(cfg: DictConfig, status: Mapping[str, Any]) -> dict[str, Any]:
    """The resolved configuration and the run's identity, without secrets."""
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    told = {name: status[name] for name in IDENTITY if status.get(name) is not None}
    cleaned: dict[str, Any] = without_secrets({**config, **told})
    return cleaned


def run_name(told: Mapping[str, Any]) -> str:
    """`gndpo, clamp=2, seed=0`: the preset of a method or the strategy, what was overridden, and
    the seed."""
    experiment = told.get("experiment") or ""
    method = experiment.startswith("methods/")
    first = experiment.rpartition("/")[2] if method else told["strategy"]
    known = UNNAMED | {"experiment" if method else "advantage"}
    overrides = [text for text in told["overrides"] if root(text) not in known]
    shown = [text.lstrip("+").removeprefix("advantage.") for text in overrides]
    name = ", ".join([first, *shown, f"seed={told['seed']}"])
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 3]}..."


def root(override: str) -> str:
    """`advantage` of `advantage=gndpo`; `advantage.clamp` says more than its group."""
    key = override.partition("=")[0].lstrip("+")
    group = key.partition(".")[0]
    return key if group == "advantage" else group


def tags(told: Mapping[str, Any]) -> list[str]:
    """The strategy, and the preset if there is one; W&B takes 64 characters."""
    preset = (told.get("experiment") or "").removeprefix("methods/")
    return [tag[:64] for tag in dict.fromkeys([told["strategy"], preset]) if tag]
