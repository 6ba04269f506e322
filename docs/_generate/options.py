"""A file of conf/ as what a reader wants of it: what it is for, what it starts from, its keys."""

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

PACKAGE = "# @package "
HYDRA = ("defaults", "_partial_", "_convert_")
"""Keys that say how a file is composed and called, not what it holds."""


@dataclass(frozen=True)
class Key:
    """A key below its group, what it is set to as the file writes it, and the comment beside it."""

    name: str
    value: str
    meaning: str


@dataclass(frozen=True)
class Option:
    """A file of a group. place: where its keys stand, e.g. `advantage.`; about: its first comment;
    base: its defaults list; target: what it calls."""

    name: str
    place: str
    about: str
    base: tuple[str, ...]
    target: str
    keys: tuple[Key, ...]


def read_option(path: Path, name: str, place: str) -> Option:
    """place: where the keys stand unless the file names a package of its own."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    header = list(itertools.takewhile(lambda line: line.startswith("#"), lines))
    for line in header:
        if line.startswith(PACKAGE):
            package = line.removeprefix(PACKAGE)
            place = "" if package == "_global_" else f"{package}."
    about = " ".join(line.strip("# ") for line in header if not line.startswith(PACKAGE))
    root = yaml.compose(text)
    content = yaml.safe_load(text) or {}
    return Option(
        name=name,
        place=place,
        about=about,
        base=tuple(base(content.get("defaults", []))),
        target=content.get("_target_", ""),
        keys=tuple(keys(root, lines, len(header)) if root else ()),
    )


def base(defaults: Sequence[str | dict[str, str | None]]) -> Iterator[str]:
    """The entries of a defaults list, as they are written."""
    for entry in defaults:
        if isinstance(entry, str) and entry != "_self_":
            yield entry
        elif isinstance(entry, dict):
            yield from (f"{group}: {option or 'null'}" for group, option in entry.items())


def keys(
    node: yaml.MappingNode, lines: Sequence[str], header: int, above: str = ""
) -> Iterator[Key]:
    """Every key of a mapping; one in braces is a value, one in lines is taken apart."""
    for key, value in node.value:
        if key.value in HYDRA or (key.value == "_target_" and not above):
            continue
        name = above + key.value
        note = comments_above(lines, key.start_mark.line, header)
        if isinstance(value, yaml.MappingNode) and not value.flow_style and value.value:
            if meaning := joined(note, comment_behind(lines, key.end_mark)):
                yield Key(name, "", meaning)
            yield from keys(value, lines, header, f"{name}.")
        else:
            end = key.end_mark if stands_below(value) else value.end_mark
            yield Key(name, written(value), joined(note, comment_behind(lines, end)))


def stands_below(value: yaml.Node) -> bool:
    """Whether a value begins in the line after its key: folded text, a list in lines."""
    block_list = isinstance(value, yaml.SequenceNode) and not value.flow_style
    return block_list or (isinstance(value, yaml.ScalarNode) and value.style in ("|", ">"))


def written(value: yaml.Node) -> str:
    """A value in one line, as the file writes it."""
    if not stands_below(value):
        source = value.start_mark.buffer[value.start_mark.index : value.end_mark.index]
        return re.sub(r"\s+", " ", source)
    if isinstance(value, yaml.SequenceNode):
        return f"[{', '.join(written(item) for item in value.value)}]"
    first, *more = str(value.value).strip().splitlines()
    return f"{first} ..." if more else first


def comment_behind(lines: Sequence[str], end: yaml.Mark) -> str:
    """The comment in the rest of a line."""
    if end.line >= len(lines):
        return ""
    found = re.fullmatch(r"[:,\]}\s]*#\s*(.*)", lines[end.line][end.column :])
    return found[1] if found else ""


def comments_above(lines: Sequence[str], line: int, header: int) -> str:
    """The comment lines right above a key, the file's header not counted."""
    before = reversed(lines[header:line])
    block = itertools.takewhile(lambda text: text.lstrip().startswith("#"), before)
    return " ".join(reversed([text.strip("# ") for text in block]))


def joined(*parts: str) -> str:
    return " ".join(part for part in parts if part)
