"""How a step of `full_kl` grows: seconds and memory against G, L, T, V and P.

python -m benchmarks.growth --out runs/bench    # growth.jsonl, growth.md, growth.png
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import log
from pathlib import Path

from benchmarks.cases import IDENTICAL, LARGE_V, TINY, Case
from benchmarks.compare import lines, measure
from benchmarks.figures import Line, draw_growth
from benchmarks.records import Record, append, read
from benchmarks.tables import MB, machine, markdown
from gndpo.quiet import quiet
from gndpo.report.table import digits

OURS = IDENTICAL[-1]
BASE = replace(TINY, arms=(OURS,), rounds=3)
WIDE = replace(BASE, vocabulary=LARGE_V.vocabulary)
AXES: Mapping[str, tuple[Case, str, tuple[int, ...]]] = {
    "G": (BASE, "group", (2, 8, 32)),
    "L": (BASE, "prompt", (65, 260, 1040)),
    "T": (BASE, "answer", (8, 32, 128)),
    "V": (BASE, "vocabulary", (1024, 12_288, WIDE.vocabulary)),
    "P": (BASE, "prompts", (1, 4, 16)),
    "T, large V": (WIDE, "answer", (8, 16, 32)),
}
"""A case, and the values of the field that grows."""
FLOAT = 4  # bytes
NOTE = (
    "s: the fastest of three steps. MB: what steps add, the most bytes during them beyond those "
    "before the first, gradients and the optimizer's state included. Exponent: slope between the "
    "last two values on a log-log scale; 1 is proportional."
)


def cases() -> list[Case]:
    """Each once."""
    all_of_them = (case for _, points in axes() for _, case in points)
    return list(dict.fromkeys(all_of_them))


def axes() -> Iterator[tuple[str, list[tuple[int, Case]]]]:
    for name, (base, field, values) in AXES.items():
        yield name, [(value, replace(base, **{field: value})) for value in values]


def added(record: Record) -> float:
    """Bytes that steps need beyond what was loaded."""
    return record.arms[OURS].peak - record.arms[OURS].rss


def grown(records: Sequence[Record]) -> list[Line]:
    """Per axis its values, seconds and added megabytes."""
    known = {record.case: record for record in records}
    found = []
    for name, points in axes():
        there = [(value, known[case]) for value, case in points]
        values = [value for value, _ in there]
        seconds = [record.arms[OURS].fastest for _, record in there]
        found.append(Line(name, values, seconds, [added(record) / MB for _, record in there]))
    return found


def exponent(values: Sequence[float], of: Sequence[float]) -> float:
    return log(of[-1] / of[-2]) / log(values[-1] / values[-2])


def per_token(line: Line, answers: int) -> float:
    """Kilobytes that one more answer token costs, between the two largest T."""
    (short, long), (less, more) = line.values[-2:], line.megabytes[-2:]
    return 1e3 * (more - less) / (answers * (long - short))


def report(records: Sequence[Record]) -> str:
    titles = ("axis", "values", "s", "exponent", "MB", "exponent")
    found = {line.name: line for line in grown(records)}
    rows = [
        [
            line.name,
            ", ".join(f"{value:,}" for value in line.values),
            ", ".join(map(digits, line.seconds)),
            f"{exponent(line.values, line.seconds):.2f}",
            ", ".join(map(digits, line.megabytes)),
            f"{exponent(line.values, line.megabytes):.2f}",
        ]
        for line in found.values()
    ]
    small, large = (per_token(found[name], BASE.answers) for name in ("T", "T, large V"))
    logits = FLOAT * WIDE.vocabulary / 1e3
    costs = (
        f"From the second to the last value of T, one more answer token costs {small:.0f} kB at "
        f"V = {BASE.vocabulary:,} and {large:.0f} kB at V = {WIDE.vocabulary:,} (below 0: the "
        f"allocator's noise), where its logits alone are {logits:.0f} kB per model."
    )
    head = f"`{OURS}`, {BASE.name}. Measured on: {machine(records)}. {NOTE}\n"
    return "\n".join([head, *markdown(titles, rows), costs, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="a folder; what it has is kept")
    out: Path = parser.parse_args().out
    quiet()
    file = out / "growth.jsonl"
    known = {record.case for record in read(file)}
    for case in cases():
        if case not in known:
            append(record := measure(case), file)
            print(*lines(record), sep="\n", flush=True)
    (out / "growth.md").write_text(report(read(file)))
    draw_growth(grown(read(file)), out / "growth.png")


if __name__ == "__main__":
    main()
