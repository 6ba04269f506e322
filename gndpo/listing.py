"""`gndpo-list [group[/option]]`: what can be chosen, read from conf/ itself."""

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gndpo.console import console
from gndpo.folders import config_folder
from gndpo.nested import flat

CONF = Path(config_folder())
GROUPS = {
    "experiment": "presets: several keys at once",
    "advantage": "the strategy: from scores to signal",
    "surrogate": "how an advantage becomes a loss",
    "rollout": "who writes the answers",
    "teacher": "who scores them",
    "model": "student and teacher",
    "data": "prompts and right answers",
    "reward": "what an answer earns",
    "optimizer": "from gradients to weights",
    "budget": "length of a run and its evaluations",
    "trainer": "device",
    "logger": "where metrics go besides the run folder; several: logger=[wandb,tensorboard]",
    "callbacks": "what the terminal shows",
    "debug": "runs of seconds",
    "benchmark": "of gndpo-eval: test sets with prompt, grader and samples",
    "table": "of gndpo-table: tables of papers",
}
"""In the order in which they are shown; a group that is not named here is shown last."""
INTERNAL = {"hydra", "output"}
EXAMPLES = """examples:
  gndpo-list                        all groups
  gndpo-list advantage              the options of one
  gndpo-list advantage/gndpo        keys and defaults of one option
  gndpo-list experiment             presets, in their folders
  gndpo-list experiment/methods     one of these folders
"""

Line = tuple[str, ...]
COMMENT = re.compile(r"^\s*-?\s*(\w+):.*?\s#\s(.*)$", re.M)
SENTENCE_END = re.compile(r"\.\s(?=[A-Z])")


@console
def main(arguments: Sequence[str] | None = None) -> None:
    """The console script."""
    parser = argparse.ArgumentParser(
        prog="gndpo-list",
        description=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", nargs="?", default="", help="a group, a folder of it, or an option")
    what = parser.parse_args(arguments).what.strip("/").removesuffix(".yaml")
    place, file = CONF / what, CONF / f"{what}.yaml"
    allowed = not {*Path(what).parts} & {*INTERNAL, ".."}
    if not what:
        show(every_group(), "gndpo-list <group> shows its options, <group>/<option> its keys")
    elif allowed and place.is_dir():
        show(one_group(place), f"gndpo-list {what}/<option> shows keys and defaults")
    elif allowed and file.is_file():
        option(file)
    else:
        print(f"gndpo-list: {unknown(what)}", file=sys.stderr)
        sys.exit(1)


def groups() -> list[str]:
    """Those that a command line names, in the order of GROUPS."""
    found = {path.name for path in CONF.iterdir() if path.is_dir()} - INTERNAL
    return [*(name for name in GROUPS if name in found), *sorted(found - GROUPS.keys())]


def every_group() -> list[Line]:
    """Each group with its options; a folder of options is one line."""
    chosen: dict[str, str] = {}
    for entry in OmegaConf.load(CONF / "train.yaml").defaults:
        chosen |= {str(k): v for k, v in entry.items() if v} if isinstance(entry, Mapping) else {}
    lines: list[Line] = []
    for group in groups():
        default = f" (default: {chosen[group]})" if group in chosen else ""
        lines += [(), (group, f"{GROUPS.get(group, '')}{default}")]
        lines += [(f"  {name}", text) for name, text in options(CONF / group)]
        for inner in folders(CONF / group):
            name = inner.relative_to(CONF).as_posix()
            count = len(list(options(inner)))
            lines.append((f"  {inner.name}/", f"{count} options: gndpo-list {name}"))
    return lines[1:]


def one_group(folder: Path) -> list[Line]:
    """Its options, then those in its folders."""
    lines: list[Line] = [*options(folder)]
    for inner in folders(folder):
        lines.append(())
        lines += [(f"{inner.name}/{name}", text) for name, text in one_group(inner)]
    return lines


def options(folder: Path) -> Iterator[tuple[str, str]]:
    """(name, description)."""
    for file in sorted(folder.glob("*.yaml")):
        yield file.stem, description(file)


def folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if any(path.glob("*.yaml")))


def heading(file: Path) -> str:
    """The comment at the top of a file."""
    lines = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# @package"):
            lines.append(line.lstrip("# "))
    return " ".join(lines)


def description(file: Path) -> str:
    """Its first sentence."""
    return SENTENCE_END.split(heading(file), maxsplit=1)[0].rstrip(".")


def option(file: Path) -> None:
    """One option: its whole comment, where it stands, its keys."""
    group = file.relative_to(CONF).parent.as_posix()
    print(f"{heading(file)}\n{file}\n")
    show(list(keys(file).values()), f"change one with {prefix(file, group)}<key>=<value>")


def prefix(file: Path, group: str) -> str:
    """What stands before a key on the command line."""
    of_root = "@package _global_" in file.read_text(encoding="utf-8")
    return "" if of_root or group == "." else f"{group.partition('/')[0]}."


def keys(file: Path) -> dict[str, Line]:
    """(key, default, meaning) by key, those of the options that it builds on first."""
    text = file.read_text(encoding="utf-8")
    values: Any = OmegaConf.to_container(OmegaConf.load(file))
    meanings = {name: meaning.strip() for name, meaning in COMMENT.findall(text)}
    found: dict[str, Line] = {}
    for base in values.pop("defaults", []):
        if isinstance(base, dict):
            for group, choice in base.items():
                name = str(group).removeprefix("override ").lstrip("/")
                if not name.startswith("hydra/"):
                    found[name] = (name, written(choice), "")
        elif base != "_self_":
            found |= inherited(file, base)
    for name, value in flat(values):
        key = name.rpartition(".")[2]
        known = found.get(name, ("", "", ""))[2]
        found[name] = (name, written(value), meanings.get(key, known))
    return found


def inherited(file: Path, base: str) -> dict[str, Line]:
    """keys() of an entry of its defaults, `[/]option[@package]`: from conf/ with a slash, else
    beside the file or from its group."""
    name, _, package = base.partition("@")
    group = CONF / file.relative_to(CONF).parts[0]
    places = [CONF] if name.startswith("/") else [file.parent, group]
    files = [place / f"{name.lstrip('/')}.yaml" for place in places]
    found = keys(next(path for path in files if path.is_file()))
    start = "" if package in ("", "_here_") else f"{package}."
    return {f"{start}{key}": (f"{start}{key}", *rest) for key, (_, *rest) in found.items()}


def written(value: Any) -> str:
    """As in YAML, on one line."""
    return " ".join(value.split()) if isinstance(value, str) else json.dumps(value)


def unknown(what: str) -> str:
    """One sentence with what may have been meant."""
    every = [file.relative_to(CONF).with_suffix("").as_posix() for file in CONF.glob("**/*.yaml")]
    known = [name for name in [*groups(), *every] if name.partition("/")[0] not in INTERNAL]
    near = close(what, known)
    meant = f"did you mean {' or '.join(near)}? " if near else ""
    return f"there is no group or option '{what}'; {meant}gndpo-list shows all groups"


def close(typed: str, known: Sequence[str]) -> list[str]:
    """What resembles it, or ends in what resembles its end; three at most, the closest first."""
    tails = {name.rpartition("/")[2]: name for name in known}
    return get_close_matches(typed, known, 3) or [
        tails[tail] for tail in get_close_matches(typed.rpartition("/")[2], tails, 3)
    ]


def show(lines: Sequence[Line], hint: str) -> None:
    """A table on a terminal, aligned text elsewhere; a line of two whose next is indented is a
    group."""
    console = Console()
    if console.is_terminal:
        table = Table.grid(padding=(0, 2))
        for line in lines:
            style = "bold" if line and not line[0].startswith(" ") else ""
            table.add_row(*(Text(cell, style if i == 0 else "") for i, cell in enumerate(line)))
        console.print(table, Text(f"\n{hint}", "dim"))
        return
    widths = [max((len(line[i]) for line in lines if len(line) > i), default=0) for i in range(2)]
    for line in lines:
        cells = [cell.ljust(widths[i]) if i < 2 else cell for i, cell in enumerate(line)]
        print("  ".join(cells).rstrip())
    print(f"\n{hint}")


if __name__ == "__main__":
    main()
