"""What would spoil a run is refused before its first step, in one sentence."""

import math
from functools import cache
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from gndpo.build import config_folder
from gndpo.errors import UserError
from gndpo.forms import check_forms
from gndpo.prompts import PICTURES

COUNTS = (
    "steps",
    "prompts",
    "rollout.group",
    "rollout.max_tokens",
    "updates.epochs",
    "updates.minibatches",
    "checkpoint.keep",
    "eval.batch",
)
POSITIVE = ("rollout.temperature", "optimizer.lr")
OPTIONAL = (
    "updates.micro",
    "updates.answers",
    "updates.tokens",
    "updates.chunk",
    "updates.clip_norm",
    "updates.max_skipped",
    "rollout.micro",
    "rollout.answers",
    "rollout.correction",
    "rollout.speed.compact",
)
"""Keys whose values must be whole numbers, numbers, and numbers or null, larger than 0."""

OPEN = frozenset({"budget", "experiment", "debug", "output"})
"""Groups that leave no section."""

BUILT = (
    *("advantage", "surrogate.loss", "rollout.writer", "rollout.speed", "model.pair", "data"),
    *("reward", "optimizer", "trainer", "callbacks", "logger"),
)
"""Sections that functions and classes take, or that hold such ones by name."""


@cache
def root_keys() -> set[str]:
    """The keys that conf/train.yaml and its groups bring; `+typo=1` would compose silently."""
    train, step = (OmegaConf.load(f"{config_folder()}/{name}.yaml") for name in ("train", "step"))
    groups = {
        str(key) for entry in train.defaults if isinstance(entry, DictConfig) for key in entry
    }
    return groups | {str(key) for key in [*train, *step]} - {"defaults"}


@cache
def section_keys() -> dict[str, list[str]]:
    """Of sections that no function takes: their keys are those of the file that brings them."""
    step: Any = OmegaConf.to_container(OmegaConf.load(f"{config_folder()}/step.yaml"))
    files = {section: list(values) for section, values in step.items()}
    for group, option in (("rollout", "local"), ("teacher", "pair"), ("model", "checkpoints")):
        files[group] = list(OmegaConf.load(f"{config_folder()}/{group}/{option}.yaml"))
    return files | {"surrogate": ["loss", "aggregation"]}


def check_sections(cfg: DictConfig) -> None:
    """Sections are there and hold settings; those that no function takes have their keys, all of
    them and no other."""
    for section in (*section_keys(), *BUILT):
        if not isinstance(OmegaConf.select(cfg, section), DictConfig):
            raise UserError(f"{section}={OmegaConf.select(cfg, section)} must be settings by name")
    for section, allowed in section_keys().items():
        for key in cfg[section]:
            if key not in allowed:
                raise UserError(f"{section}: unknown key '{key!s}' (allowed: {', '.join(allowed)})")
    needed = {**section_keys(), "data": ["max_prompt_tokens", "overlong"]}
    for section, keys in needed.items():
        for key in keys:
            if key not in cfg[section]:
                raise UserError(f"{section}: key '{key}' is missing")


def check_values(cfg: DictConfig) -> None:
    """Names and values that no type can refuse."""
    allowed = root_keys()
    for key in cfg:
        if key not in allowed:
            raise UserError(f"unknown key '{key!s}' (allowed: {', '.join(sorted(allowed))})")
    for key in sorted(allowed - OPEN):
        if key not in cfg:
            raise UserError(f"key '{key}' is missing")
    check_sections(cfg)
    check_forms(cfg)
    check_numbers(cfg)
    check_portions(cfg)
    check_names(cfg)
    check_sampling(cfg.rollout)


def positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


def check_numbers(cfg: DictConfig) -> None:
    for key in (*COUNTS, *POSITIVE):
        value = OmegaConf.select(cfg, key)
        if not positive(value):
            raise UserError(f"{key}={value} must be a number larger than 0")
        if key in COUNTS and not isinstance(value, int):
            raise UserError(f"{key}={value} must be a whole number")
    for key in OPTIONAL:
        value = OmegaConf.select(cfg, key)
        if value is not None and not positive(value):
            raise UserError(f"{key}={value} must be larger than 0, or null")
    if not isinstance(cfg.seed, int) or cfg.seed < 0:
        raise UserError(f"seed={cfg.seed} must be a whole number, 0 or larger")


def check_portions(cfg: DictConfig) -> None:
    """What goes through at a time."""
    for section in ("updates", "rollout"):
        micro, answers = cfg[section].micro, cfg[section].answers
        if answers is not None and micro not in (None, 1):
            raise UserError(
                f"{section}.micro={micro} with {section}.answers={answers}: parts of a group go "
                f"one prompt at a time; use {section}.micro=1"
            )
    parts = {name: cfg.updates[name] for name in ("micro", "answers")}
    if cfg.updates.tokens is not None and any(parts.values()):
        raise UserError(
            f"updates.tokens={cfg.updates.tokens} says what goes through at a time in place of "
            f"updates.micro={parts['micro']} and updates.answers={parts['answers']}; leave those "
            "null"
        )
    minibatches = cfg.updates.minibatches
    if minibatches > cfg.prompts:
        raise UserError(f"updates.minibatches={minibatches} is more than prompts={cfg.prompts}")


def check_names(cfg: DictConfig) -> None:
    for key in ("dtype", "teacher_dtype"):
        if not isinstance(getattr(torch, str(cfg.model[key]), None), torch.dtype):
            raise UserError(f"model.{key}={cfg.model[key]} is unknown; use float32 or bfloat16")
    if cfg.model.trains not in ("student", "teacher"):
        raise UserError(f"model.trains={cfg.model.trains} is unknown; choose student or teacher")
    if cfg.ckpt not in (None, "last"):
        raise UserError(
            f"ckpt={cfg.ckpt} is unknown; use ckpt=last to continue a run, or leave it out"
        )
    if cfg.rollout.rendering not in PICTURES:
        raise UserError(
            f"rollout.rendering={cfg.rollout.rendering} is unknown; choose {', '.join(PICTURES)}"
        )


def check_sampling(rollout: DictConfig) -> None:
    if rollout.top_p != 1 or rollout.top_k is not None:
        raise UserError(
            f"rollout.top_p={rollout.top_p}, rollout.top_k={rollout.top_k}: truncated sampling "
            "biases every on-policy estimate, its tokens come from another distribution than the "
            "one that is scored; use top_p=1.0 and top_k=null"
        )
