"""Answers to a benchmark on disk, one row per line, settings in the first."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from gndpo.errors import UserError
from gndpo.nested import flat
from gndpo.runfolder import read_rows, write_text


class Record(TypedDict):
    """A row and its answers. index: its place in the test set. prompt: as rendered. answers: each
    with draw (-1: greedy), text, length in tokens, truncated and, once graded, parts."""

    index: int
    row: str
    prompt: str
    answer: str
    choices: list[str]
    kind: str
    fields: dict[str, str]
    answers: list[dict[str, Any]]


class AnswerFile:
    """The records that a file holds, by index. settings: what the answers depend on; a file with
    others is refused."""

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self.path, self.settings = path, json.loads(json.dumps(settings))
        lines = list(read_rows(path))
        if len(lines) > 1:  # a header alone is a start that failed
            check_settings(path, lines[0].get("settings", {}), self.settings)
        self.records: dict[int, Record] = {line["index"]: to_record(line) for line in lines[1:]}
        self.rewrite()

    def append(self, records: Sequence[Record]) -> None:
        with self.path.open("a") as file:
            file.writelines(json.dumps(record) + "\n" for record in records)
        self.records |= {record["index"]: record for record in records}

    def rewrite(self) -> None:
        """All records in order; a line that a crash cut off is gone."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lines = [{"settings": self.settings}, *(self.records[i] for i in sorted(self.records))]
        write_text(self.path, "".join(json.dumps(line) + "\n" for line in lines))


def to_record(line: Mapping[str, Any]) -> Record:
    record: Any = dict(line)
    found: Record = record
    return found


def check_settings(path: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    old, new = (dict(flat(x)) if x else {} for x in (before, now))
    names = [name for name in old | new if old.get(name) != new.get(name)]
    if names:
        changed = ", ".join(f"{x}={old.get(x)!s:.40} there, {new.get(x)!s:.40} here" for x in names)
        raise UserError(
            f"{path} was written with other settings ({changed}); use those, or move the file away"
        )
