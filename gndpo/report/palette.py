"""Colours and lines of the figures: a strategy has one colour in every comparison."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

from gndpo.report.arms import Arm

# Okabe and Ito's palette: told apart with any colour vision.
COLOURS = {
    "raw_kl": "#D55E00",
    "full_kl": "#0072B2",
    "gndpo": "#009E73",
    "trust_region": "#E69F00",
    "decomposed": "#CC79A7",
}
SPARE_COLOURS = ("#56B4E9", "#000000", "#8C6D31", "#7F7F7F", "#5E3C99", "#B2DF8A")
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 2, 1, 2)))
INK, GREY = "#222222", "#666666"
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "text.color": INK,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "savefig.dpi": 150,
}


@dataclass(frozen=True)
class Look:
    """How the line of one arm looks."""

    colour: str
    dash: Any


def looks(arms: Sequence[Arm]) -> dict[str, Look]:
    """Colour by strategy, with dashes for its further arms; by arm where all share one strategy."""
    if len(arms) > 1 and len({arm.strategy for arm in arms}) == 1:
        every = (*COLOURS.values(), *SPARE_COLOURS)
        return {
            arm.name: Look(every[i % len(every)], DASHES[i // len(every) % len(DASHES)])
            for i, arm in enumerate(arms)
        }
    unknown = sorted({arm.strategy for arm in arms} - COLOURS.keys())
    colour_of = COLOURS | dict(zip(unknown, cycle(SPARE_COLOURS), strict=False))
    turns = dict.fromkeys(colour_of, 0) | {
        s: i // len(SPARE_COLOURS) for i, s in enumerate(unknown)
    }
    found = {}
    for arm in arms:
        found[arm.name] = Look(colour_of[arm.strategy], DASHES[turns[arm.strategy] % len(DASHES)])
        turns[arm.strategy] += 1
    return found
