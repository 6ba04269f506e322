"""What a release is held to, as ratios within one run."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from benchmarks.cases import CHEAPER, IDENTICAL, LARGE_V, SMALL_V, Case
from benchmarks.records import Record

THEIRS, OURS = IDENTICAL
ALONE = 1.5
"""Our steps per second over TRL's where every prompt has one answer."""
SHARING = 0.7
"""Of what a shared prompt promises, G (L + T) / (L + G T), on top of that."""
MEMORY = 0.6
SAMPLED = 2.0
DECOMPOSED = 1.4
UPDATE = 1.7

Floors = Callable[[Record], Mapping[str, float]]


@dataclass(frozen=True)
class Verdict:
    """sign: ">=" or "<="."""

    what: str
    sign: str
    asked: float
    found: float

    @property
    def word(self) -> str:
        met = self.found >= self.asked if self.sign == ">=" else self.found <= self.asked
        return "yes" if met else "no"


def verdicts(records: Sequence[Record], floors: Floors) -> Iterator[Verdict]:
    """Every target that the records can answer."""
    pairs = [record for record in records if {*IDENTICAL} <= {*record.arms}]
    yield from speed(pairs)
    yield from memory(pairs)
    yield from strategies(records)
    yield from update(pairs, floors)


def speed(records: Sequence[Record]) -> Iterator[Verdict]:
    found = {place(record.case): record.faster(OURS, THEIRS) for record in records}
    for record in records:
        case = record.case
        alone = place(replace(case, group=1))
        if case.vocabulary != SMALL_V.vocabulary or alone not in found:
            continue
        asked = ALONE if case.group == 1 else SHARING * case.shared * found[alone]
        yield Verdict(f"steps/s over TRL's, {where(case)}", ">=", asked, found[place(case)])


def where(case: Case) -> str:
    return f"{case.label}, threads = {case.threads}"


def place(case: Case) -> tuple[str, int, int, int, int]:
    """What tells the cases apart that are held to a speed."""
    return case.family, case.layers, case.vocabulary, case.group, case.threads


def memory(records: Sequence[Record]) -> Iterator[Verdict]:
    for record in records:
        if record.case.vocabulary == LARGE_V.vocabulary:
            found = record.smaller(OURS, THEIRS)
            yield Verdict(f"peak memory over TRL's, {where(record.case)}", "<=", MEMORY, found)


def strategies(records: Sequence[Record]) -> Iterator[Verdict]:
    for record in records:
        if "decomposed" in record.arms:
            found = record.faster(OURS, "decomposed")
            what = f"`decomposed`, seconds over those of `full_kl`, {where(record.case)}"
            yield Verdict(what, "<=", DECOMPOSED, found)
        if record.case.vocabulary == LARGE_V.vocabulary:
            for arm in CHEAPER:
                if arm in record.arms:
                    what = f"`{arm}`, steps/s over those of `full_kl`, {where(record.case)}"
                    yield Verdict(what, ">=", SAMPLED, record.faster(arm, OURS))


def update(records: Sequence[Record], floors: Floors) -> Iterator[Verdict]:
    for record in records:
        case = record.case
        if (case.layers, case.vocabulary) == (SMALL_V.layers, SMALL_V.vocabulary):
            found = record.arms[OURS].phase("update") / floors(record)["update"]
            yield Verdict(f"update over its floor, {where(case)}", "<=", UPDATE, found)
