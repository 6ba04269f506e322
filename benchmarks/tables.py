"""Measured steps as Markdown and a figure.

python -m benchmarks.tables runs/bench    # reads compare.jsonl, writes compare.md and compare.png
"""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.cases import CENTRE, IDENTICAL
from benchmarks.figures import draw_compare
from benchmarks.floor import of_case, work
from benchmarks.records import Record, read
from benchmarks.targets import Floors, verdicts
from gndpo.report.table import digits

MB = 1e6
THEIRS, OURS = IDENTICAL
PHASES = ("rollout", "score", "update")

IDENTICAL_NOTE = (
    "The same objective: reverse KL over the whole vocabulary, for 8 / G prompts with G answers "
    "each (G = 16: one prompt). s: fastest and median optimizer step; × steps/s: of the medians; "
    "× CPU: of the processor's seconds; tokens/s: of the answers; MB: most memory that the process "
    "held during steps, libraries included."
)
FLOOR_NOTE = (
    "Medians, seconds. Floor: FLOPs of the phase's matrix products over the machine's best rate, "
    "or bytes over its copy bandwidth, whichever is longer; a prompt is read once for its group, "
    "and the teacher's head belongs to the update."
)
STRATEGIES_NOTE = (
    "Our strategies side by side. `raw_kl` and `gndpo` read sampled tokens alone, a different and "
    "cheaper objective; `decomposed` adds two views without the image to `full_kl`."
)


def markdown(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """The first column is text, the others are numbers."""
    yield f"| {' | '.join(titles)} |"
    yield f"| --- |{' ---: |' * (len(titles) - 1)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def both(record: Record) -> bool:
    return {*IDENTICAL} <= {*record.arms}


def identical(records: Sequence[Record]) -> Iterator[str]:
    titles = ("case", "threads", "TRL, s", "ours, s", "× steps/s", "× CPU", "TRL, tokens/s")
    rows = [identical_row(record) for record in records if both(record)]
    yield from markdown((*titles, "ours, tokens/s", "TRL, MB", "ours, MB", "× MB"), rows)


def identical_row(record: Record) -> list[str]:
    sides = [record.arms[arm] for arm in IDENTICAL]
    theirs, ours = sides
    return [
        record.case.label,
        str(record.case.threads),
        *(f"{digits(arm.fastest)}, {digits(arm.seconds)}" for arm in sides),
        f"**{record.faster(OURS, THEIRS):.2f}**",
        f"{theirs.median('cpu') / ours.median('cpu'):.2f}",
        *(digits(record.case.tokens / arm.seconds) for arm in sides),
        *(f"{arm.peak / MB:.0f}" for arm in sides),
        f"{record.smaller(OURS, THEIRS):.2f}",
    ]


def best_rates(records: Sequence[Record]) -> dict[int, dict[str, float]]:
    """What the machine reached, by threads: the best of what was measured beside the cases."""
    return {
        threads: {
            name: max(r.rates[name] for r in records if r.case.threads == threads)
            for name in records[0].rates
        }
        for threads in sorted({r.case.threads for r in records})
    }


def floors_of(records: Sequence[Record]) -> Floors:
    """Record -> seconds below which no phase can go."""
    best = best_rates(records)

    def floors(record: Record) -> Mapping[str, float]:
        rate = best[record.case.threads]
        pair = (of_case(record.case, which) for which in ("student", "teacher"))
        phases = work(record.case, *pair).items()
        return {phase: what.seconds(rate["gemm"], rate["copy"]) for phase, what in phases}

    return floors


def rates(records: Sequence[Record]) -> str:
    return " ".join(
        f"Threads: {threads}; {rate['gemm'] / 1e9:.0f} GFLOP/s in square products, "
        f"{rate['shaped'] / 1e9:.0f} in products of the student's shapes; "
        f"{rate['copy'] / 1e9:.1f} GB/s."
        for threads, rate in best_rates(records).items()
    )


def phases(records: Sequence[Record], floors: Floors) -> Iterator[str]:
    titles = ["case", "threads"]
    titles += [f"{who}, {phase}" for phase in PHASES for who in ("TRL", "ours", "floor")]
    rows = [phase_row(record, floors(record)) for record in records if both(record)]
    yield from markdown((*titles, "TRL / floor", "ours / floor"), rows)


def phase_row(record: Record, floor: Mapping[str, float]) -> list[str]:
    total = sum(floor.values())
    row = [record.case.label, str(record.case.threads)]
    for phase in PHASES:
        row += [digits(record.arms[arm].phase(phase)) for arm in IDENTICAL]
        row.append(digits(floor[phase]))
    return [*row, *(f"{record.arms[arm].seconds / total:.2f}" for arm in IDENTICAL)]


def strategies(records: Sequence[Record]) -> Iterator[str]:
    titles = ("case", "strategy", "s", "× full_kl's steps/s", "× TRL's steps/s", "MB")
    rows = [
        [
            record.case.label,
            f"`{name}`",
            f"{digits(arm.fastest)}, {digits(arm.seconds)}",
            f"{record.faster(name, OURS):.2f}",
            f"{record.faster(name, THEIRS):.2f}",
            f"{arm.peak / MB:.0f}",
        ]
        for record in records
        if both(record) and len(record.arms) > len(IDENTICAL)
        for name, arm in record.arms.items()
        if name != THEIRS
    ]
    yield from markdown(titles, rows)


def targets(records: Sequence[Record], floors: Floors) -> Iterator[str]:
    rows = [
        [verdict.what, f"{verdict.sign} {verdict.asked:.2f}", f"{verdict.found:.2f}", verdict.word]
        for verdict in verdicts(records, floors)
    ]
    yield from markdown(("target", "asked", "measured", "met"), rows)


def machine(records: Sequence[Record]) -> str:
    """Where the numbers come from; every machine and every version, should they differ."""
    found = {name: sorted({r.machine[name] for r in records}) for name in records[0].machine}
    return "; ".join(f"{name} {' and '.join(values)}" for name, values in found.items())


def report(records: Sequence[Record]) -> str:
    """All tables, each behind what its columns mean."""
    floors = floors_of(records)
    centre = f"The centre is {CENTRE.name}; other rows say what differs."
    parts = [
        f"Measured on: {machine(records)}. {centre}\n",
        "### Identical objective\n",
        f"{IDENTICAL_NOTE}\n",
        *identical(records),
        "### Where the time goes\n",
        f"{FLOOR_NOTE} {rates(records)}\n",
        *phases(records, floors),
        "### Strategies\n",
        f"{STRATEGIES_NOTE}\n",
        *strategies(records),
        "### Targets\n",
        *targets(records, floors),
    ]
    return "\n".join(parts)


def main(folder: str) -> None:
    records = read(Path(folder) / "compare.jsonl")
    (Path(folder) / "compare.md").write_text(report(records))
    shown = [record for record in records if both(record)]
    draw_compare(shown, Path(folder) / "compare.png")


if __name__ == "__main__":
    main(*sys.argv[1:])
