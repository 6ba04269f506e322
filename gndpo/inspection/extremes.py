"""The tokens on which teacher and student differ most, as a table."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

CONTEXT = 18
"""Characters of the answer that are shown before a token."""
LEAST_WIDTH = 110
"""Columns that the table takes where the output says nothing of its width, or too little."""


def extremes(found: Sequence[Mapping[str, Any]], count: int) -> list[tuple[int, int]]:
    """Answer and place of the `count` tokens of largest |log-ratio|, largest first; the same token
    in the same state, in several answers to a prompt, once."""
    state: dict[tuple[str, ...], tuple[int, int]] = {}
    for b, one in enumerate(found):
        question = (one["prompt"], *one["images"])
        text = one["tokens"]["text"]
        for t in range(len(text)):
            state.setdefault((*question, *text[: t + 1]), (b, t))

    def size(place: tuple[int, int]) -> float:
        b, t = place
        ratio: float | None = found[b]["tokens"]["log_ratio"][t]
        return abs(ratio or 0.0)

    return sorted(state.values(), key=size, reverse=True)[:count]


def table(found: Sequence[Mapping[str, Any]], count: int, shown: Sequence[str]) -> Table:
    """shown: strategies whose advantage stands beside the token."""
    title = "Most extreme tokens: log pi_T - log pi_S in nats, rank with the teacher, advantages"
    grid = Table(box=SIMPLE_HEAD, title=title, title_justify="left", title_style="bold")
    for name in ("answer", "before", "token", "log-ratio", "rank", *shown):
        grid.add_column(name, justify="left" if name == "token" else "right", no_wrap=True)
    for b, t in extremes(found, count):
        one = found[b]
        columns = one["tokens"]
        numbers = [columns["log_ratio"][t], columns["rank"][t]]
        numbers += [one["advantages"][name][t] for name in shown]
        before = "".join(columns["text"][:t])[-CONTEXT:]
        words = (str(b), visible(before), visible(columns["text"][t]))
        grid.add_row(*map(Text, words), *map(number, numbers))
    return grid


def visible(text: str) -> str:
    """On one line."""
    return text.replace("\n", "⏎")


def number(x: float | None) -> str:
    return "-" if x is None else f"{x:.3g}"
