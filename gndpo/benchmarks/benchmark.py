"""Benchmarks: answers to every row of a test set, kept on disk, graded, summed up.

The answers' file is what counts: a killed evaluation continues where it stopped, and grading again,
with another reward, writes nothing anew.
"""

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count, islice
from typing import Any

import torch

from gndpo.benchmarks.answer_file import AnswerFile, Record
from gndpo.benchmarks.special_scores import Special
from gndpo.data.module import Rows
from gndpo.data.rows import Row
from gndpo.errors import UserError
from gndpo.evaluation import decode
from gndpo.metrics import mean
from gndpo.models.processor import Processor
from gndpo.prompts import make_prompts
from gndpo.rewards import Grade, Reward
from gndpo.rng import uniform
from gndpo.rollout import Answers
from gndpo.sources import Source, write

GREEDY = -1
"""The draw of a greedy answer; samples are 0, 1, ..."""


@dataclass(frozen=True)
class Benchmark:
    """A test set and how it is asked and graded.

    rows: (split, seed) -> rows. greedy: whether the likeliest answer is written. k: samples per
    row, at `temperature`. special: a score over several rows, if the benchmark has one. limit:
    first rows only, for a trial; null: all.
    """

    name: str
    rows: Callable[[str, int], Rows]
    reward: Grade
    greedy: bool
    k: int
    temperature: float
    max_tokens: int
    limit: int | None
    special: Special | None

    def __post_init__(self) -> None:
        if self.k < 0 or (self.k == 0 and not self.greedy):
            raise UserError(
                f"benchmark.k={self.k} with benchmark.greedy={self.greedy}: nothing would be "
                "asked; set k above 0 or greedy=true"
            )


@dataclass(frozen=True)
class Reader:
    """Who answers, and how much at a time. context: a teacher's template. batch: prompts per
    forward; answers: samples of a prompt per forward (None: all)."""

    source: Source
    context: str | None
    processor: Processor
    device: torch.device
    batch: int
    answers: int | None
    seed: int


def ask(benchmark: Benchmark, file: AnswerFile, reader: Callable[[], Reader]) -> list[Record]:
    """Every row's answers, from the file or written now; `reader` is called only if one is
    missing."""
    missing = rows_without(file.records, benchmark)
    first = next(missing, None)
    if first is not None:
        hand, rest = reader(), chain([first], missing)
        while numbered := list(islice(rest, hand.batch)):
            file.append(answered(benchmark, hand, numbered))
    return [file.records[i] for i in sorted(file.records) if i < (benchmark.limit or i + 1)]


def rows_without(known: Container[int], benchmark: Benchmark) -> Iterator[tuple[int, Row]]:
    """The rows whose numbers are not known, each read only when it is its turn."""
    rows = benchmark.rows("test", 0)
    if rows.endless and benchmark.limit is None:
        raise UserError(
            "benchmark.limit=null: these rows have no end; give a number, such as benchmark.limit=9"
        )
    for i in count() if benchmark.limit is None else range(benchmark.limit):
        if i not in known:
            try:
                yield i, rows[i]
            except IndexError:  # behind the last row
                return


@torch.no_grad()
def answered(
    benchmark: Benchmark, reader: Reader, numbered: Sequence[tuple[int, Row]]
) -> list[Record]:
    """Greedy and sampled answers. A sample depends on (seed, row, draw) alone, not on batching."""
    rows = [row for _, row in numbered]
    prompts = make_prompts(rows, reader.processor, device=reader.device, context=reader.context)
    records = [
        record(i, row, prompt) for (i, row), prompt in zip(numbered, prompts.texts, strict=True)
    ]
    source = reader.source.seeing("image")
    for first, group in portions(benchmark, reader.answers):
        draws = None
        if first != GREEDY:
            cells = [i * benchmark.k + first + j for i, _ in numbered for j in range(group)]
            numbers = uniform(reader.seed, "benchmark", 0, cells, benchmark.max_tokens)
            draws = torch.from_numpy(numbers).to(reader.device)
        answers = write(
            source, prompts, group=group, max_tokens=benchmark.max_tokens, uniform_BT=draws
        )
        for b, answer in enumerate(answers_of(answers, reader.processor)):
            records[b // group]["answers"].append({"draw": first + b % group, **answer})
    return records


def portions(benchmark: Benchmark, size: int | None) -> Iterator[tuple[int, int]]:
    """(first draw, how many) of every forward."""
    if benchmark.greedy:
        yield GREEDY, 1
    for first in range(0, benchmark.k, size or max(1, benchmark.k)):
        yield first, min(size or benchmark.k, benchmark.k - first)


def record(number: int, row: Row, prompt: str) -> Record:
    """A row without its images, ready for answers: what grading needs."""
    return {
        "index": number,
        "row": row["name"],
        "prompt": prompt,
        "answer": row["answer"],
        "choices": row["choices"],
        "kind": row["kind"],
        "fields": row["fields"],
        "answers": [],
    }


def answers_of(answers: Answers, processor: Processor) -> list[dict[str, Any]]:
    columns = zip(
        decode(answers, processor),
        answers.length_B.tolist(),
        answers.truncated_B.tolist(),
        strict=True,
    )
    return [{"text": text, "length": n, "truncated": cut} for text, n, cut in columns]


def graded(records: Sequence[Record], reward: Grade) -> list[list[Reward]]:
    """Every answer's reward, and its parts written into the record."""
    answers = [(answer, row_of(r)) for r in records for answer in r["answers"]]
    rewards = iter(reward([answer["text"] for answer, _ in answers], [row for _, row in answers]))
    found = [[next(rewards) for _ in r["answers"]] for r in records]
    for r, earned in zip(records, found, strict=True):
        for answer, one in zip(r["answers"], earned, strict=True):
            answer["parts"] = dict(one.parts) | {"total": one.total, "timed_out": one.timed_out}
    return found


def row_of(r: Record) -> Row:
    return {
        "name": r["row"],
        "images": [],
        "problem": "",
        "answer": r["answer"],
        "choices": r["choices"],
        "solution": "",
        "kind": r["kind"],
        "fields": r["fields"],
    }


def summary(
    benchmark: Benchmark, records: Sequence[Record], rewards: Sequence[Sequence[Reward]]
) -> dict[str, float]:
    """acc_1 of greedy answers, acc_k and pass_k of samples (mean, and any, per row), fractions of
    1; <name>_se: the standard error over rows, std / sqrt(n). acc_1/<kind>, or acc_k/<kind>.

    truncated, length, timeouts and the reward's other parts: means over all answers.
    """
    greedy = [r[0].correct for r in rewards] if benchmark.greedy else []
    samples = [[x.correct for x in r[benchmark.greedy :]] for r in rewards]
    numbers: dict[str, float] = {}
    if greedy:
        numbers |= accuracy("acc_1", greedy, records) | specials(benchmark, "", records, [greedy])
    if benchmark.k:
        numbers |= accuracy("acc_k", [mean(row) for row in samples], records)
        numbers["pass_k"] = mean([max(row) for row in samples])
        by_draw = [list(draw) for draw in zip(*samples, strict=True)]
        numbers |= specials(benchmark, "_k", records, by_draw)
    answers = [answer for r in records for answer in r["answers"]]
    every = [reward for row in rewards for reward in row]
    numbers |= {name: mean([a[name] for a in answers]) for name in ("truncated", "length")}
    numbers["timeouts"] = mean([float(r.timed_out) for r in every])
    others = [name for name in every[0].parts if name != "accuracy"]
    return numbers | {name: mean([r.parts[name] for r in every]) for name in others}


def accuracy(name: str, values: list[float], records: Sequence[Record]) -> dict[str, float]:
    kinds: dict[str, list[float]] = {}
    for value, r in zip(values, records, strict=True):
        kinds.setdefault(r["kind"], []).append(value)
    per_kind = {f"{name}/{kind}": mean(of_kind) for kind, of_kind in kinds.items()}
    error = float(torch.tensor(values).double().std(correction=0)) / len(values) ** 0.5
    return {name: mean(values), f"{name}_se": error} | (per_kind if len(kinds) > 1 else {})


def specials(
    benchmark: Benchmark, suffix: str, records: Sequence[Record], by_draw: Sequence[list[float]]
) -> dict[str, float]:
    """The benchmark's own score of each draw, averaged over draws."""
    if benchmark.special is None:
        return {}
    found: list[Mapping[str, float]] = [benchmark.special(records, draw) for draw in by_draw]
    return {f"{name}{suffix}": mean([x[name] for x in found]) for name in found[0]}
