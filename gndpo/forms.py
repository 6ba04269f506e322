"""What form the values of models and data have. A wrong one is a sentence before anything is
loaded; a text where a list belongs would be read letter by letter, without an error."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]

from gndpo.errors import UserError


def whole(x: Any) -> bool:
    return isinstance(x, int) and not isinstance(x, bool)


def listed(x: Any, of: Callable[[Any], bool]) -> bool:
    return isinstance(x, ListConfig) and all(of(value) for value in x)


def named(x: Any, of: Callable[[Any], bool]) -> bool:
    return isinstance(x, DictConfig) and all(of(value) for value in x.values())


def text(x: Any) -> bool:
    return isinstance(x, str)


FORMS: Mapping[str, Callable[[Any], bool]] = {
    "a text": text,
    "a list of texts": lambda x: listed(x, text),
    "a list of whole numbers": lambda x: listed(x, whole),
    "a text or a list of texts": lambda x: text(x) or listed(x, text),
    "a list of pairs of texts": lambda x: listed(x, lambda y: listed(y, text) and len(y) == 2),
    "texts by name, like {a: b}": lambda x: named(x, text),
    "lists by name, like {a: [b]}": lambda x: named(x, lambda y: isinstance(y, ListConfig)),
    "settings by name, like {a: 1}": lambda x: isinstance(x, DictConfig),
    "true or false": lambda x: isinstance(x, bool),
    "a whole number, 0 or larger": lambda x: whole(x) and x >= 0,
    "a whole number, 1 or larger": lambda x: whole(x) and x >= 1,
}

KEYS: Mapping[str, Mapping[str, str]] = {
    "reuse": {"true or false": "prompts images states"},
    "schedule": {"a whole number, 0 or larger": "warmup", "a text": "decay"},
    "diagnose": {"a whole number, 0 or larger": "every prompts"},
    "eval": {"a whole number, 0 or larger": "every validation? test? k"},
    "checkpoint": {"a whole number, 0 or larger": "every"},
    "samples": {"a whole number, 0 or larger": "per_step"},
    "model": {
        "a text": "system? chat_template?",
        "a list of texts": "parts? eos?",
        "true or false": "checkpointing remote_code",
        "settings by name, like {a: 1}": "pair adapter? template_arguments? image_arguments?",
    },
    "model.pair=gndpo.models.load.Pair": {"a text": "student? teacher?"},
    "data=gndpo.data.module.PromptData": {
        "settings by name, like {a: 1}": "rows",
        "a whole number, 0 or larger": "seed evaluation_seed ahead",
        "a whole number, 1 or larger": "prompts steps max_prompt_tokens",
    },
    "data.rows=gndpo.data.table.TableRows": {
        "settings by name, like {a: 1}": "fields filters",
        "a text": "source? config? folder? answer_pattern? template",
        "texts by name, like {a: b}": "splits",
        "lists by name, like {a: [b]}": "keep",
        "a list of pairs of texts": "replace",
        "true or false": "distinct streaming shuffle",
        "a whole number, 0 or larger": "cut_seed?",
        "a whole number, 1 or larger": "buffer",
    },
    "data.rows.fields=gndpo.data.reader.Fields": {
        "a text": "problem answer? solution? kind?",
        "texts by name, like {a: b}": "further",
        "a text or a list of texts": "images? choices?",
    },
    "data.rows.filters=gndpo.data.filters.Filters": {
        "a whole number, 1 or larger": "max_characters? min_side? max_side? max_pixels?",
    },
}
"""Section, with the target that it must have, -> form -> keys; `?`: or null."""


def read_settings(file: Path) -> DictConfig:
    """A YAML file of settings by name."""
    try:
        found = OmegaConf.load(file)
    except (OSError, ValueError, YAMLError, OmegaConfBaseException) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{file} is no YAML file ({reason:.200}); mend or remove it") from error
    if not isinstance(found, DictConfig):
        raise UserError(f"{file} holds no settings by name; mend or remove it")
    return found


def check_forms(cfg: DictConfig) -> None:
    """Refuse the first value of another form."""
    for section, forms in KEYS.items():
        place, _, target = section.partition("=")
        found = OmegaConf.select(cfg, place)
        if target and not (isinstance(found, DictConfig) and found.get("_target_") == target):
            continue
        check_section(f"{place}.", found, forms)


def check_section(prefix: str, section: Any, forms: Mapping[str, str]) -> None:
    """forms: form -> keys of the section. prefix: what stands before a key in the sentence."""
    for form, keys in forms.items():
        for key in keys.split():
            check_form(f"{prefix}{key.rstrip('?')}", section, form, key)


def check_form(where: str, section: Any, form: str, key: str) -> None:
    value = OmegaConf.select(section, key.rstrip("?"))
    empty = key.endswith("?")
    if not (FORMS[form](value) or (empty and value is None)):
        null = ", or null" if empty else ""
        raise UserError(f"{where}={value} must be {form}{null}")
