"""From inner products of gradients to angles, norms and eta, as numbers and as tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from gndpo.report.load import Floats
from gndpo.report.stats import interval

TERMS = ("language", "visual", "standard")
"""KL(p_x || q_x), KL(p_I || q*), KL(p_I || q_I): the axes of every matrix of inner products."""
LANGUAGE, VISUAL, STANDARD = range(3)
PAIRS = {
    "lang-vis": (LANGUAGE, VISUAL),
    "std-vis": (STANDARD, VISUAL),
    "std-lang": (STANDARD, LANGUAGE),
}
Number = Mapping[str, Any]
"""mean, half (the width of its 95% t interval, halved) and the values that they are taken of."""


@dataclass(frozen=True)
class Measured:
    """One set of prompts, K bins: tokens and mean visual dependency (nats) of each, and the inner
    products of the gradients, bins_K33 of a bin's sum, whole_33 of the mean over answers."""

    tokens_K: list[int]
    visual_K: list[float]
    bins_K33: Floats
    whole_33: Floats


def cosine(gram_33: Floats, i: int, j: int) -> float:
    """Of the angle between gradients i and j; nan where one of them is zero."""
    size = float(np.sqrt(gram_33[i, i] * gram_33[j, j]))
    return float(np.clip(gram_33[i, j] / size, -1, 1)) if size else float("nan")


def angles(gram_33: Floats) -> dict[str, float]:
    """Degrees, 0 to 180."""
    return {name: float(np.degrees(np.arccos(cosine(gram_33, *ij)))) for name, ij in PAIRS.items()}


def eta(gram_33: Floats, gamma: float, other: int = VISUAL) -> float:
    """|g| / |g + gamma h|, g the standard gradient and h the other one: the factor that keeps the
    gradient as long as without steering (eqs. 15 and 23)."""
    gg, hh, gh = gram_33[STANDARD, STANDARD], gram_33[other, other], gram_33[STANDARD, other]
    return float(np.sqrt(gg / (gg + gamma**2 * hh + 2 * gamma * gh)))


def summarize(sets: Sequence[Measured], gammas: Sequence[float]) -> dict[str, Any]:
    """Per bin, for the whole batch, and eta per gamma: every number over the sets."""
    bins = [merged([of_bin(s, k) for s in sets]) for k in range(len(sets[0].tokens_K))]
    return {
        "interval": "mean, and half the width of its 95% t interval over the repeats",
        "bins": [
            {"bin": k, "tokens": sum(s.tokens_K[k] for s in sets), **numbers}
            for k, numbers in enumerate(bins)
        ],
        "all": {
            "tokens": sum(sum(s.tokens_K) for s in sets),
            **merged([angles(s.whole_33) | lengths(s.whole_33) for s in sets]),
        },
        "eta": [
            {"gamma": gamma, **merged([factors(s.whole_33, gamma) for s in sets])}
            for gamma in gammas
        ],
    }


def factors(gram_33: Floats, gamma: float) -> dict[str, float]:
    """eta of steering by the image, and by the language prior (the control, eq. 19)."""
    return {"eta": eta(gram_33, gamma), "eta_language": eta(gram_33, gamma, LANGUAGE)}


def of_bin(one: Measured, k: int) -> dict[str, float]:
    """A bin's angles, and its gradients per token."""
    gram_33 = one.bins_K33[k]
    per_token = lengths(gram_33 / one.tokens_K[k] ** 2)
    return {"visual_dependency": one.visual_K[k], **angles(gram_33), **per_token}


def lengths(gram_33: Floats) -> dict[str, float]:
    """Norms (a = |g_std|, b = |g_vis|), and the cosine that eta depends on besides them."""
    norms = {f"norm_{name}": float(np.sqrt(gram_33[i, i])) for i, name in enumerate(TERMS)}
    return norms | {"cos_std_vis": cosine(gram_33, STANDARD, VISUAL)}


def merged(rows: Sequence[Mapping[str, float]]) -> dict[str, Number]:
    """Every number over the sets in which it exists."""
    found: dict[str, Number] = {}
    for name in rows[0]:
        values = [row[name] for row in rows if np.isfinite(row[name])]
        over = interval(values) if values else None
        found[name] = {"mean": over and over.mean, "half": over and over.half, "values": values}
    return found


def show(summary: Mapping[str, Any], console: Console) -> None:
    """Both tables, and what their numbers are."""
    console.print(angle_table(summary))
    console.print(eta_table(summary))
    console.print(f"{caption(summary)} {norms(summary)}", highlight=False, soft_wrap=True)


def angle_table(summary: Mapping[str, Any]) -> Table:
    table = plain_table("Angles between gradients, degrees", "bin", "tokens", "VDS", *PAIRS)
    for row in summary["bins"]:
        visual = written(row["visual_dependency"], ".2g")
        angles = (written(row[pair], ".1f") for pair in PAIRS)
        last = row is summary["bins"][-1]
        table.add_row(str(row["bin"]), str(row["tokens"]), visual, *angles, end_section=last)
    whole = summary["all"]
    angles = (written(whole[pair], ".1f") for pair in PAIRS)
    table.add_row("all", str(whole["tokens"]), "", *angles)
    return table


def eta_table(summary: Mapping[str, Any]) -> Table:
    table = plain_table("eta, steering", "gamma", "by the image", "by language")
    for row in summary["eta"]:
        both = (written(row[name], ".3f") for name in ("eta", "eta_language"))
        table.add_row(f"{row['gamma']:g}", *both)
    return table


def plain_table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    table.pad_edge = False
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def written(number: Number, how: str) -> str:
    """`61.3 ± 4.0`, or `-` where it does not exist."""
    if number["mean"] is None:
        return "-"
    mean = f"{number['mean']:{how}}"
    return mean if number["half"] is None else f"{mean} ± {number['half']:{how}}"


def caption(summary: Mapping[str, Any]) -> str:
    return (
        f"Step {summary['step']}, {summary['split']}. Mean ± 95% t interval over "
        f"{summary['repeats']} disjoint sets of {summary['prompts']} prompts with "
        f"{summary['group']} answers each; VDS: KL(teacher with || without image), nats."
    )


def norms(summary: Mapping[str, Any]) -> str:
    """What eta is made of, in words."""
    names = {
        "norm_standard": "|g_std|",
        "norm_visual": "|g_vis|",
        "norm_language": "|g_lang|",
        "cos_std_vis": "cos(g_std, g_vis)",
    }
    return ", ".join(f"{name} {written(summary['all'][key], '.3g')}" for key, name in names.items())
