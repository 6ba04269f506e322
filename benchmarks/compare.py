"""Our step beside TRL's: every case in processes of its own, their steps interleaved.

python -m benchmarks.compare --quick                    # a few cases, two rounds, printed
python -m benchmarks.compare --out runs/bench           # all; what is there already is kept
python -m benchmarks.compare --quick --cases V=1024 G=8 --arms trl full_kl --threads 2
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import pairs
from benchmarks.cases import CASES, QUICK, QUICK_CASES, Case
from benchmarks.floor import rates, shaped
from benchmarks.machine import machine
from benchmarks.records import Arm, Record, append, read
from gndpo.quiet import quiet

WARM_UP = 1
"""Steps of each process before the clock counts."""
TAIL = 2000
"""Characters of a failed process's last words."""


class Worker:
    """A process that makes one step per command."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process, self.log = process, log

    def heard(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(self.log.read_text()[-TAIL:])
        answer: dict[str, Any] = json.loads(line)
        return answer

    def step(self) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write("step\n")
        self.process.stdin.flush()
        return self.heard()


@contextmanager
def started(case: Case, arm: str, folder: Path) -> Iterator[Worker]:
    """A process with one side's pair loaded or loading; it ends when its input does."""
    side = ("peer_trl",) if arm == "trl" else ("ours", arm)
    module, *advantage = side
    command = [sys.executable, "-m", f"benchmarks.{module}", str(folder)]
    log = folder / f"{arm}.log"
    with (
        log.open("w") as errors,
        subprocess.Popen(
            [*command, json.dumps(asdict(case)), *advantage],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment(case.threads),
        ) as process,
    ):
        yield Worker(process, log)


def environment(threads: int) -> dict[str, str]:
    """Waiting processes must not spin: one is timed while the others wait."""
    return {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "passive",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
    }


def measure(case: Case) -> Record:
    """All arms of a case, A B C A B C ..., on the same weights and rows."""
    with TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        pairs.write(case, folder, WARM_UP + case.rounds)
        workers = {arm: stack.enter_context(started(case, arm, folder)) for arm in case.arms}
        begun = {arm: worker.heard() for arm, worker in workers.items()}
        rounds = [
            {arm: worker.step() for arm, worker in workers.items()}
            for _ in range(WARM_UP + case.rounds)
        ]
    timed = rounds[WARM_UP:]
    arms = {arm: Arm(begun[arm]["rss"], [row[arm] for row in timed]) for arm in case.arms}
    speeds = rates(case.threads) | {"shaped": shaped(case)}
    return Record(case, arms, machine(), speeds)


def lines(record: Record) -> Iterator[str]:
    """What came out, for the terminal."""
    yield record.case.name
    first = record.case.arms[0]
    for name, arm in record.arms.items():
        yield (
            f"  {name:12} {arm.fastest:7.3f} {arm.seconds:7.3f} s  cpu {arm.median('cpu'):7.3f} s"
            f"  x{record.faster(name, first):5.2f}  {arm.peak / 1e6:6.0f} MB"
        )


def chosen(given: argparse.Namespace) -> Sequence[Case]:
    """The cases that the command line asks for."""
    cases = QUICK_CASES if given.quick else CASES
    cases = tuple(case for case in cases if all(part in case.name for part in given.cases))
    if given.quick:
        cases = tuple(replace(case, rounds=QUICK) for case in cases)
    if given.threads:
        cases = tuple(dict.fromkeys(replace(case, threads=given.threads) for case in cases))
    if given.arms:
        cases = tuple(replace(case, arms=tuple(given.arms)) for case in cases)
    return cases


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a few cases, two rounds")
    parser.add_argument("--cases", nargs="*", default=(), help="parts of a case's name")
    parser.add_argument("--arms", nargs="*", help="trl, or strategies of ours")
    parser.add_argument("--threads", type=int, help="of every process")
    parser.add_argument("--out", type=Path, help="a folder for compare.jsonl")
    return parser.parse_args()


def main() -> None:
    given = parsed()
    quiet()
    file = given.out / "compare.jsonl" if given.out else Path(os.devnull)
    known = [record.case for record in read(file)]
    cases = [case for case in chosen(given) if case not in known]
    if any("trl" in case.arms for case in cases) and find_spec("trl") is None:
        raise SystemExit(
            "trl is not installed; type pip install -e '.[bench]', or leave it out: --arms full_kl"
        )
    for case in cases:
        append(record := measure(case), file)
        print(*lines(record), sep="\n", flush=True)


if __name__ == "__main__":
    main()
