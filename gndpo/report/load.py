"""Run folders, read as they are on disk: unfinished, truncated and failed ones included."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from omegaconf import OmegaConf

from gndpo.errors import UserError
from gndpo.forms import read_settings
from gndpo.nested import flat
from gndpo.presence import seen

Row = dict[str, Any]
Floats = npt.NDArray[np.float64]

KINDS = {"strategy": str, "seed": int, "status": str, "overrides": list}
"""What run.json holds, as far as it is compared."""


@dataclass(frozen=True)
class Run:
    """One training run: `run.json`, the flattened configuration and the rows of both logs."""

    folder: Path
    info: Row
    config: Row
    metrics: list[Row]
    evals: list[Row]
    unreadable: int = 0  # lines of both logs, as `read_log` counts them

    @property
    def strategy(self) -> str:
        return str(self.info["strategy"])

    @property
    def seed(self) -> int:
        return int(self.info["seed"])

    @property
    def experiment(self) -> str:
        return str(self.info.get("experiment") or "")

    @property
    def method(self) -> str | None:
        """The preset of a whole method, e.g. `methods/gkd`, where the run was one."""
        return self.experiment if self.experiment.startswith("methods/") else None

    @property
    def completed(self) -> bool:
        return bool(self.info.get("status") == "completed")


def find_runs(folders: Sequence[Path]) -> list[Run]:
    """Every run at or below the folders, each once, in order of its path."""
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder; name one that holds runs, e.g. runs/demo")
    found = {path.resolve(): path for folder in folders for path in _run_folders(folder)}
    if not found:
        names = ", ".join(str(folder) for folder in folders)
        raise UserError(
            f"{names}: no run found, i.e. no folder with a run.json; "
            "gndpo-train writes one per run below runs/<sweep>"
        )
    return [read_run(found[path]) for path in sorted(found)]


def _run_folders(root: Path) -> Iterator[Path]:
    for here, inner, files in os.walk(root):
        if "run.json" in files:
            inner.clear()  # a run holds no other run
            yield Path(here)


def read_run(folder: Path) -> Run:
    """Read one run folder; a missing log is an empty log."""
    info = seen(_read_info(folder / "run.json"), folder)
    metrics, bad_metrics = read_log(folder / "metrics.jsonl")
    evals, bad_evals = read_log(folder / "eval.jsonl")
    config = _read_config(folder / ".hydra" / "config.yaml")
    return Run(folder, info, config, metrics, evals, bad_metrics + bad_evals)


def _read_info(path: Path) -> Row:
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(
            f"{path}: not valid JSON ({error}); remove that run folder or run it again"
        ) from None
    if not isinstance(info, dict):
        raise UserError(f"{path}: holds no run, but {info!r:.60}; remove that run folder")
    missing = [key for key in ("strategy", "seed", "status") if key not in info]
    if missing:
        raise UserError(f"{path}: lacks {', '.join(missing)}, so it is no run of gndpo-train")
    for key, kind in KINDS.items():
        if not isinstance(info.get(key, kind()), kind):
            raise UserError(f"{path}: {key} is {info[key]!r:.60}; mend it or remove the run folder")
    return info


def read_rows(path: Path) -> tuple[list[Row], int]:
    """Rows of a JSONL file and the number of unreadable lines.

    A last line without its newline is a write that was cut off: it is left out and not counted.
    """
    if not path.exists():
        return [], 0
    rows: list[Row] = []
    bad = 0
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True):
        try:
            row = json.loads(line)
        except ValueError:
            bad += line.endswith("\n") and bool(line.strip())
            continue
        if isinstance(row, dict):
            rows.append(row)
        else:
            bad += 1
    return rows, bad


def read_log(path: Path) -> tuple[list[Row], int]:
    """As `read_rows`, of a log by step: a row without an integer `step` is unreadable. Of the
    others, metrics that are no numbers are left out."""
    rows, bad = read_rows(path)
    kept = [row for row in rows if isinstance(row.get("step"), int) and is_number(row["step"])]
    return [measured(row) for row in kept], bad + len(rows) - len(kept)


def measured(row: Row) -> Row:
    return {key: x for key, x in row.items() if "/" not in key or x is None or is_number(x)}


def is_number(x: Any) -> bool:
    """One that fits into 64 bits."""
    return isinstance(x, float) or (isinstance(x, int) and abs(x) < 2**63)


def series(rows: Sequence[Row], key: str) -> tuple[Floats, Floats]:
    """Steps and values of one metric, ascending; a step written twice counts as written last.

    What is no number, e.g. null, is left out.
    """
    points = {row["step"]: float(row[key]) for row in rows if isinstance(row.get(key), int | float)}
    steps = sorted(points)
    return np.array(steps, dtype=np.float64), np.array([points[step] for step in steps])


def eval_rows(run: Run, model: str, split: str) -> list[Row]:
    """The evaluations of one model on one split, by step."""
    rows = [row for row in run.evals if row.get("model") == model and row.get("split") == split]
    return sorted(rows, key=lambda row: int(row["step"]))


def _read_config(path: Path) -> Row:
    if not path.exists():
        return {}
    return dict(flat(OmegaConf.to_container(read_settings(path), resolve=False)))
