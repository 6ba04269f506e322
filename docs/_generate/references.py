"""The references of the site, as Markdown: every group of conf/ and every metric."""

import html
import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

import yaml
from options import Option, read_option
from pymdownx.slugs import slugify

from gndpo.listing import GROUPS, INTERNAL

COMMANDS = "commands"
"""The page of the files that belong to no group."""
NOTES = {
    COMMANDS: "what each command starts from; the keys of `step` are keys of `gndpo-train`",
    "data/rows": "how rows are read and asked, a part of `data`",
}
"""What `gndpo-list` does not say."""
INSIDE = ("data/rows",)
"""Groups below a group; any other folder there only sorts its options."""
PARTS = "base/"
"""Options that others are made of."""
DOCUMENTED = ("gndpo.advantages.", "gndpo.surrogates.")
"""How the name of a function on the API page begins."""
MARKS = re.compile(r"([\\|*_\[\]{}])")
"""What would be mark-up."""

INTRODUCTION = """Every value stands in a file of `conf/`, and every key is an override:
`gndpo-train advantage=gndpo advantage.clamp=2 seed=1`. A group is swapped by the name of an option
(`advantage=gndpo`), a key by its address (`advantage.clamp=2`); with `-m` every comma is a grid.
These pages are made from the files: name, value and comment as they stand there. `gndpo-list` shows
the same in the terminal."""

METRICS = """A row of a run's `metrics.jsonl` maps these names to numbers, the same for every
strategy. "On a schedule" is every `diagnose.every` steps. Evaluations stand in `eval.jsonl`:
`eval/acc_1` (greedy accuracy), `eval/acc_k` and `eval/pass_k` (mean, and any, of `eval.k`
samples), `eval/blind` (greedy without the image), `eval/acc_1/<kind>` per kind of question; of
the greedy answers also length, truncation, time-outs and the reward's other parts."""


def configuration(conf: Path, methods: str) -> dict[str, str]:
    """The pages of the configuration, by address. methods: the text whose headings describe the
    strategies."""
    groups = options_by_group(conf)
    chosen = defaults_of(conf / "train.yaml")
    titles = re.findall(r"^## (\w+)( — .*)$", methods, re.MULTILINE)
    anchors = {name: slugify(case="lower")(name + rest, "-") for name, rest in titles}
    rows = [
        (f"[`{group}`]({address(group)})", code(chosen.get(group)), str(len(options)), what(group))
        for group, options in groups.items()
    ]
    overview = table(("group", "`gndpo-train` takes", "options", "what it is"), rows)
    return {"configuration/index.md": page("# Configuration", INTRODUCTION, overview)} | {
        f"configuration/{address(group)}": page(
            f"# {group}", what(group), *(entry(group, option, anchors) for option in options)
        )
        for group, options in groups.items()
    }


def options_by_group(conf: Path) -> dict[str, list[Option]]:
    """Every file of conf/ that a command line can name, by group; those of the commands first."""
    found: dict[str, list[Option]] = {COMMANDS: []}
    for path in sorted(conf.rglob("*.yaml")):
        inner = path.relative_to(conf).with_suffix("").as_posix()
        group = next((g for g in INSIDE if inner.startswith(f"{g}/")), inner.partition("/")[0])
        if group in INTERNAL:
            continue
        if group == inner:
            found[COMMANDS].append(read_option(path, inner, ""))
        else:
            name = inner.removeprefix(f"{group}/")
            place = "" if name.startswith(PARTS) else f"{group.replace('/', '.')}."
            found.setdefault(group, []).append(read_option(path, name, place))
    return found


def defaults_of(path: Path) -> dict[str, str | None]:
    """The options that a command takes when none are named."""
    entries = yaml.safe_load(path.read_text(encoding="utf-8"))["defaults"]
    return {key: x for entry in entries if isinstance(entry, dict) for key, x in entry.items()}


def entry(group: str, option: Option, anchors: Mapping[str, str]) -> str:
    """One option: what it is for, what it is made of, its keys."""
    facts = []
    if group != COMMANDS and not option.name.startswith(PARTS):
        facts.append(f"Take it with `{group}={option.name}`.")
    if option.base:
        facts.append(f"Starts from {', '.join(map(code, option.base))}.")
    if option.target:
        linked = f"[{code(option.target)}][{option.target}]"
        known = option.target.startswith(DOCUMENTED)
        facts.append(f"Calls {linked if known else code(option.target)}.")
    if group == "advantage" and option.name in anchors:
        facts.append(f"Described in [methods](../methods.md#{anchors[option.name]}).")
    rows = [(code(option.place + k.name), code(k.value), plain(k.meaning)) for k in option.keys]
    own = table(("key", "value", "meaning"), rows) if rows else ""
    return page(f"## {option.name}", plain(option.about), " ".join(facts), own)


def metrics(meanings: Mapping[str, str]) -> str:
    """The page of the metrics, a table per section."""
    sections = groupby(meanings.items(), key=lambda item: item[0].partition("/")[0])
    tables = [
        page(f"## {section}", table(("name", "meaning"), [(code(k), plain(x)) for k, x in items]))
        for section, items in sections
    ]
    return page("# Metrics", METRICS, *tables)


def what(group: str) -> str:
    """A group in a sentence."""
    text = {**GROUPS, **NOTES}[group]
    return f"{text[0].upper()}{text[1:]}."


def address(group: str) -> str:
    return f"{group.replace('/', '_')}.md"


def page(*blocks: str) -> str:
    return "\n\n".join(block for block in blocks if block)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def code(text: str | None) -> str:
    return f"`{text}`" if text else ""


def plain(text: str) -> str:
    """Text in which no mark-up counts but what stands between backticks."""
    words = re.split(r"(`[^`]*`)", text)
    words[::2] = [MARKS.sub(r"\\\1", html.escape(word, quote=False)) for word in words[::2]]
    return "".join(words)
