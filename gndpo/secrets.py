"""Passwords, keys and tokens: what a configuration calls so, and what is known to be one, is shown
to nobody."""

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

WORD = (
    r"(?:(?<![^\W_])|(?-i:(?<=[a-z])(?=[A-Z])))"  # a word begins: not inside one, or at a hump
    r"(?:token|(?:hf|api|auth|access)_?tokens|secrets?|passwords?|passwd|credentials?"
    r"|(?:api|access|private|secret)[_-]?keys?|auth(?:orization)?)"
)
SECRET = re.compile(rf"{WORD}$", re.I)
"""Keys whose values are never passed on; `max_tokens` and `tokens` are none of them."""
VALUE = r"""(?:"[^"]*"|'[^']*'|\[[^\]]*\]|\{[^}]*\}|[^,}\]&\n]+)"""
INLINE = re.compile(rf"""({WORD}["']?\s*[:=]\s*)({VALUE})""", re.I)
"""The same within a text: `{token: x}`, `?token=x`."""
LOGIN = re.compile(r"(?<=://)[^/\s]+(?=@)")
"""user:password in an address; a password may hold `@`."""
ISSUED = re.compile(r"\b(?:hf_|wandb_v1_|gh[pousr]_|sk-)[A-Za-z0-9_-]{16,}")
"""What begins as the keys of Hugging Face, W&B, GitHub and OpenAI do, whatever it is called."""
HIDDEN = "***"
SHORTEST = 6
"""Characters of a value that is hidden wherever it stands; a shorter one would hide words."""

TYPED: set[str] = set()
"""Secret values on this process's command line."""


def remember(arguments: Iterable[str]) -> None:
    """Hide the secrets of a command line in every text from now on."""
    for argument in arguments:
        key, _, value = argument.partition("=")
        found = [value] if SECRET.search(key) else [m[2] for m in INLINE.finditer(argument)]
        parts = [part for text in found for part in re.split(r"""[\s,\[\]{}"']+""", text)]
        TYPED.update(part for part in parts if len(part) >= SHORTEST)


def known() -> list[str]:
    """Secret values that were typed, or that stand in variables of the environment with such a
    name; longest first."""
    named = [value for name, value in os.environ.items() if SECRET.search(name)]
    return sorted({*TYPED, *(x for x in named if len(x) >= SHORTEST)}, key=len, reverse=True)


def hidden(text: str) -> str:
    """A text of ours, without logins and what is known, or looks, to be secret."""
    for value in known():
        text = text.replace(value, HIDDEN)
    return LOGIN.sub(HIDDEN, ISSUED.sub(HIDDEN, text))


def without_secrets(value: Any) -> Any:
    """The same tree; secret keys and addresses' logins are hidden, in overrides too."""
    if isinstance(value, Mapping):
        return {
            key: HIDDEN if SECRET.search(str(key)) and x is not None else without_secrets(x)
            for key, x in value.items()
        }
    if isinstance(value, list):
        return [without_secrets(x) for x in value]
    if not isinstance(value, str):
        return value
    key, sign, _ = value.partition("=")
    secret = bool(sign) and SECRET.search(key)
    shown = f"{key}={HIDDEN}" if secret else value
    return hidden(INLINE.sub(rf"\1{HIDDEN}", shown))


def as_yaml(cfg: DictConfig | ListConfig) -> str:
    """A configuration without secrets."""
    return OmegaConf.to_yaml(OmegaConf.create(without_secrets(OmegaConf.to_container(cfg))))
