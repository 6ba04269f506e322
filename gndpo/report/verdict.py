"""What the tables say, in plain words."""

from collections.abc import Callable, Sequence

from gndpo.report.measures import Summary
from gndpo.report.stats import Interval
from gndpo.report.table import LEARNING, cell, count, digits, points
from gndpo.report.words import listed

ACCURACY = LEARNING[0]


def verdict(arms: Sequence[Summary]) -> str:
    """Which strategy learned most, which was most stable, and what lost."""
    sentences = [_learned_most(arms), _most_stable(arms), _losses(arms), _unfinished(arms)]
    return " ".join(sentence for sentence in sentences if sentence)


def _learned_most(arms: Sequence[Summary]) -> str:
    ranked = by_learning(arms)
    if not ranked:
        return "No strategy has a final test accuracy yet."
    best = ranked[0]
    key = learning_key(arms)
    same = [arm.name for arm in ranked if arm.values[key].mean == best.values[key].mean]
    if len(same) > 1:
        return f"{listed(same)} learned the same ({_accuracy(best)})."
    text = f"{best.name} learned most ({_accuracy(best)}{_gain(best)}{_gap(best)})"
    return f"{text}{_against(best, ranked[1], key)}." if len(ranked) > 1 else f"{text}."


def _against(best: Summary, second: Summary, key: str) -> str:
    first, other = best.values[key], second.values[key]
    next_one = f"{second.name} ({_accuracy(second)}{_gain(second)})"
    if first.half is None or other.half is None:
        return f", before {next_one}; with one seed there is no interval to compare"
    if first.low > other.high:
        return f", and its interval lies clear of the next, {next_one}"
    return f", but its interval overlaps that of the next, {next_one}"


def _most_stable(arms: Sequence[Summary]) -> str:
    parts = []
    for key, label, write in (
        ("tail_ratio", "p99/median of the gradient norm", digits),
        ("spikes", "spikes per run", count),
    ):
        if ranked := ordered(arms, key):
            parts.append(f"by {label}: {_extremes(ranked, key, write)}")
    return f"Most stable {'; '.join(parts)}." if parts else ""


def _extremes(ranked: Sequence[Summary], key: str, write: Callable[[float], str]) -> str:
    """The best, ties named together, and the worst where it is written differently."""

    def shown(arm: Summary) -> str:
        return write(arm.values[key].mean)

    ties = [arm.name for arm in ranked if shown(arm) == shown(ranked[0])]
    text = f"{listed(ties)} ({shown(ranked[0])})"
    worst = ranked[-1]
    return text if worst.name in ties else f"{text}, least {worst.name} ({shown(worst)})"


def _losses(arms: Sequence[Summary]) -> str:
    """An arm beats the base student when its whole interval of the gain is above zero."""
    known = [arm for arm in arms if _over_base(arm)]
    if not known:
        return ""
    below = [arm for arm in known if (over := _over_base(arm)) and over.high < 0]
    unclear = [
        arm
        for arm in known
        if arm not in below and (over := _over_base(arm)) and (over.half is None or over.low <= 0)
    ]
    parts = [
        f"{label}: {listed([f'{arm.name} ({_accuracy(arm)})' for arm in group])}"
        for label, group in (
            ("Worse than the base student", below),
            ("Not shown to be better than the base student", unclear),
        )
        if group
    ]
    if not parts and len(known) > 1:
        least = by_learning(known)[-1]
        return f"All beat the base student; {least.name} learned least ({_accuracy(least)})."
    return f"{'. '.join(parts)}." if parts else f"{known[0].name} beats the base student."


def _unfinished(arms: Sequence[Summary]) -> str:
    lost = [
        f"{arm.unfinished} of {arm.completed + arm.unfinished} of {arm.name}"
        for arm in arms
        if arm.unfinished
    ]
    return f"Runs that did not complete, left out of all numbers: {listed(lost)}." if lost else ""


def by_learning(arms: Sequence[Summary]) -> list[Summary]:
    """The arms that were tested, the one that learned most first."""
    return ordered(arms, learning_key(arms), most_first=True)


def learning_key(arms: Sequence[Summary]) -> str:
    """The gain, as students may start from different accuracies; unless it is not known of all."""
    tested = [arm for arm in arms if "accuracy" in arm.values]
    return "gain" if all("gain" in arm.values for arm in tested) else "accuracy"


def ordered(arms: Sequence[Summary], key: str, most_first: bool = False) -> list[Summary]:
    """The arms that have this measure, by its mean."""
    known = [arm for arm in arms if key in arm.values]
    return sorted(known, key=lambda arm: round(arm.values[key].mean, 9), reverse=most_first)


def _accuracy(arm: Summary) -> str:
    return f"{cell(arm.values['accuracy'], ACCURACY)}%"


def _over_base(arm: Summary) -> Interval | None:
    return arm.values.get("gain") or arm.values.get("gap_closed")


def _gain(arm: Summary) -> str:
    gain = arm.values.get("gain")
    return f", {points(gain.mean)} points" if gain else ""


def _gap(arm: Summary) -> str:
    gap = arm.values.get("gap_closed")
    return f", {100 * gap.mean:.0f}% of the gap to the teacher" if gap else ""
