"""Fake run folders that look like real ones, small and quick to write."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SHAPES = {  # gain in accuracy, gradient scale, tail of the gradient, final KL
    "raw_kl": (0.12, 9.0, 0.85, 0.52),
    "full_kl": (0.27, 1.6, 0.22, 0.16),
    "gndpo": (0.15, 2.8, 0.35, 0.44),
    "trust_region": (0.19, 4.2, 0.45, 0.33),
    "decomposed": (0.23, 1.9, 0.28, 0.21),
}
BASE, TEACHER = 0.55, 0.95


def write_run(folder: Path, strategy: str, seed: int, **changes: Any) -> Path:
    """One run folder; `changes` go to run.json, except `steps`, `metrics`, `evals` and `config`."""
    steps = changes.pop("steps", 60)
    metrics = changes.pop("metrics", None) or fake_metrics(strategy, seed, steps)
    evals = changes.pop("evals", None) or fake_evals(strategy, seed, steps)
    config = changes.pop("config", "seed: 0\nadvantage:\n  clamp: null\noptimizer:\n  lr: 0.002\n")
    info = {
        "name": f"{strategy}-{seed}",
        "status": "completed",
        "reason": None,
        "strategy": strategy,
        "seed": seed,
        "experiment": "demo",
        "steps": steps,
        "step": steps,
        "overrides": ["experiment=demo", f"advantage={strategy}", f"seed={seed}"],
        "started": "2026-01-01T00:00:00",
    } | changes
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "config.yaml").write_text(config)
    (folder / "run.json").write_text(json.dumps(info))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in metrics))
    (folder / "eval.jsonl").write_text("".join(json.dumps(row) + "\n" for row in evals))
    return folder


def fake_metrics(strategy: str, seed: int, steps: int) -> list[dict[str, float]]:
    """A row per step; full_kl and decomposed have no advantage, as strategies of matches only."""
    _, scale, tail, kl = SHAPES[strategy]
    rng = np.random.default_rng([seed, len(strategy)])
    rows = []
    for step in range(1, steps + 1):
        decay = np.exp(-3 * step / steps)
        norm = scale * (0.4 + 0.6 * decay) * np.exp(tail * rng.standard_normal())
        if tail > 0.6 and rng.random() < 0.03:
            norm *= 9
        row = {
            "step": step,
            "train/loss": float(rng.normal(0, 0.1)),
            "grad/norm": float(norm),
            "grad/clipped": int(norm > 1),
            "grad/skipped": 0,
            "time/step": 0.4 + 0.02 * rng.random(),
        }
        spread = {"raw_kl": 1.9, "gndpo": 1.0, "trust_region": 1.2}.get(strategy, 0.0)
        drift = (0.5 + 0.5 * decay) if strategy != "gndpo" else 1.0
        row["advantage/std"] = float(spread * drift * np.exp(0.1 * rng.standard_normal()))
        row["advantage/abs_p99"] = float(4.1 * row["advantage/std"])
        if step % 5 == 1:
            row["teacher/kl"] = float(kl + (1.1 - kl) * decay + 0.02 * rng.standard_normal())
            row["grad/cosine_halves"] = float(0.5 - 0.4 * tail + 0.05 * rng.standard_normal())
        rows.append(row)
    return rows


def fake_evals(strategy: str, seed: int, steps: int) -> list[dict[str, Any]]:
    """Validation every tenth of the run, test at the start and the end, the teacher once."""
    gain = SHAPES[strategy][0]
    rng = np.random.default_rng([7, seed, len(strategy)])
    rows = [
        fake_eval(0, "teacher", "test", TEACHER),
        fake_eval(0, "teacher", "validation", TEACHER),
    ]
    rows.append(fake_eval(0, "student", "test", BASE))
    for step in range(0, steps + 1, max(1, steps // 10)):
        noise = 0.012 * rng.standard_normal() if step else 0.0
        reached = BASE + gain * (1 - np.exp(-3 * step / steps)) / (1 - np.exp(-3)) + noise
        rows.append(fake_eval(step, "student", "validation", float(reached)))
    rows.append(fake_eval(steps, "student", "test", BASE + gain + 0.01 * rng.standard_normal()))
    return rows


def fake_eval(step: int, model: str, split: str, accuracy: float) -> dict[str, Any]:
    return {
        "step": step,
        "model": model,
        "split": split,
        "n": 500,
        "k": 4,
        "eval/acc_1": accuracy,
        "eval/acc_k": accuracy - 0.1,
        "eval/pass_k": accuracy + 0.04,
        "eval/format": 0.99,
        "eval/truncated": 0.0,
        "eval/blind": 0.08,
    }


@pytest.fixture
def make_run() -> Callable[..., Path]:
    return write_run


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Five strategies, three seeds, one failed run."""
    root = tmp_path / "sweep"
    for strategy in SHAPES:
        for seed in range(3):
            failed = {"status": "failed", "reason": "loss was not finite"}
            broken = (strategy, seed) == ("raw_kl", 2)
            write_run(root / f"{strategy}-{seed}", strategy, seed, **(failed if broken else {}))
    return root
