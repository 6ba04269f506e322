"""Answers token by token: what `gndpo-inspect` computed, or else a run's own samples."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gndpo.errors import UserError
from gndpo.report.arms import Arm
from gndpo.report.load import Row, Run, read_log

FILE = "tokens.json"
SAMPLES = "samples.jsonl"
MOST_CHARACTERS = 6_000_000  # of all answers of a page, images included
COLUMNS = {"text", "id", "author", "student", "teacher", "advantage"}


def answers(runs: Sequence[Run], arms: Sequence[Arm]) -> list[dict[str, Any]]:
    """Every `tokens.json`; where there is none, the last samples of one run per arm."""
    inspected = [
        {"run": str(run.folder), "file": FILE} | _inspected(run.folder / FILE)
        for run in runs
        if (run.folder / FILE).exists()
    ]
    return _that_fit(inspected or [found for arm in arms if (found := _sampled(arm))])


def _inspected(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(
            f"{path}: not valid JSON ({error}); make it again with gndpo-inspect run={path.parent}"
        ) from None
    if not _whole(found):
        raise UserError(
            f"{path}: lacks answers or their tokens; "
            f"make it again with gndpo-inspect run={path.parent}"
        )
    return dict(found)


def _whole(found: Any) -> bool:
    """Whether a file has answers, and each of them its tokens."""
    listed = isinstance(found, dict) and isinstance(found.get("answers"), list)
    return listed and all(isinstance(x, dict) and "tokens" in x for x in found["answers"])


def _sampled(arm: Arm) -> dict[str, Any] | None:
    """The answers of the last step that the arm's first run has kept."""
    run = arm.shown[0]
    rows = [row for row in read_log(run.folder / SAMPLES)[0] if "tokens" in row]
    if not rows:
        return None
    step = max(row["step"] for row in rows)
    return {
        "run": str(run.folder),
        "file": SAMPLES,
        "step": step,
        "model": arm.name,
        "strategies": {run.strategy: {"kind": "advantage"}},
        "answers": [_answer(row, run.strategy) for row in rows if row["step"] == step],
    }


def _answer(row: Row, strategy: str) -> dict[str, Any]:
    """A sample in the form of an inspected answer."""
    tokens: Mapping[str, Any] = row["tokens"]
    columns = {name: tokens[name] for name in ("text", "student", "teacher") if name in tokens}
    notes = {name: column for name, column in tokens.items() if name not in COLUMNS}
    if {"student", "teacher"} <= columns.keys():
        both = zip(tokens["teacher"], tokens["student"], strict=True)
        columns["log_ratio"] = [teacher - student for teacher, student in both]
    return {
        **{key: row.get(key) for key in ("prompt", "truth", "reward", "correct")},
        "tokens": columns,
        "advantages": {strategy: tokens["advantage"]} if "advantage" in tokens else {},
        "notes": notes,
    }


def _that_fit(files: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each file's answers, as many as there is room for; `left_out` says how many are missing."""
    room = MOST_CHARACTERS // max(1, len(files))
    shown = []
    for found in files:
        sizes = [len(json.dumps(answer)) for answer in found["answers"]]
        count = sum(sum(sizes[: i + 1]) <= room for i in range(len(sizes)))
        shown.append(found | {"answers": found["answers"][:count], "left_out": len(sizes) - count})
    return shown
