"""Fake run folders with everything that the page shows: all metrics, kinds, configurations, and
answers token by token."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gndpo.metric_names import METRICS

SHAPES = {  # gain in accuracy, gradient scale, tail of the gradient, spread of the advantage
    "full_kl": (0.27, 1.6, 0.22, 0.0),
    "trust_region": (0.19, 4.2, 0.45, 1.2),
    "decomposed": (0.23, 1.9, 0.28, 0.0),
    "gndpo": (0.15, 2.8, 0.30, 1.0),
    "raw_kl": (0.12, 9.0, 0.85, 1.9),
}
QUANTILES = {"min": -4, "p01": -2.3, "p05": -1.6, "p25": -0.7, "p50": 0.0, "p75": 0.7}
QUANTILES |= {"p95": 1.6, "p99": 2.3, "max": 3.5}
KINDS = {"sum": -0.2, "maximum": 0.1, "minimum": 0.08, "row_difference": -0.1}
HOSTILE = "</script><img src=x onerror=\"document.title='owned'\">"


def write_run(folder: Path, strategy: str, seed: int, steps: int = 120, **info: Any) -> Path:
    """One run of a strategy; `info` goes to run.json."""
    rng = np.random.default_rng([seed, len(strategy), steps])
    described = {
        "name": folder.name,
        "status": "completed",
        "reason": None,
        "strategy": strategy,
        "seed": seed,
        "experiment": "demo",
        "steps": steps,
        "step": steps,
        "overrides": [f"advantage={strategy}", f"seed={seed}"],
        "started": 1.0 + seed,
    } | info
    clamp = 5.0 if strategy == "gndpo" else "null"
    config = (
        f"seed: {seed}\nadvantage:\n  clamp: {clamp}\noptimizer:\n  lr: 0.002\nsteps: {steps}\n"
    )
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "config.yaml").write_text(config)
    (folder / "run.json").write_text(json.dumps(described))
    write_rows(folder / "metrics.jsonl", metrics(strategy, steps, rng))
    write_rows(folder / "eval.jsonl", evals(strategy, steps, rng))
    return folder


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def metrics(strategy: str, steps: int, rng: np.random.Generator) -> list[dict[str, float]]:
    """A row per step with every metric; norms have a heavy tail, quantiles are sorted."""
    _, scale, tail, spread = SHAPES[strategy]
    decay = 0.4 + 0.6 * np.exp(-3 * np.arange(steps) / steps)
    norms = scale * decay * np.exp(tail * rng.standard_normal(steps))
    norms[rng.random(steps) < 0.02 * (tail > 0.6)] *= 9
    columns = {name: rng.normal(1, 0.1, steps) for name in METRICS if "<" not in name}
    columns |= {"note/clamped": rng.random(steps) * 0.05, "grad/norm": norms}
    shares = {"vision": 0.3, "projector": 0.5, "language": 0.8}
    columns |= {f"grad/norm_{part}": share * norms for part, share in shares.items()}
    columns["grad/clipped"] = (norms > np.median(norms)).astype(float)
    columns["grad/skipped"] = np.zeros(steps)
    columns["teacher/kl"] = decay * (0.2 + tail) * np.exp(0.1 * rng.standard_normal(steps))
    for name, place in QUANTILES.items():
        outlier = 1 + 3 * (name == "min") * rng.random(steps)
        columns[f"teacher/log_ratio_{name}"] = 2 * place * decay * outlier
        columns[f"advantage/{name}"] = place * spread * decay
    names = list(columns)
    values = np.stack([columns[name] for name in names], axis=1).tolist()
    return [{"step": i + 1} | dict(zip(names, row, strict=True)) for i, row in enumerate(values)]


def evals(strategy: str, steps: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Validation along the way, test before and after, the teacher once."""
    gain = SHAPES[strategy][0]
    rows = [evaluation(0, "teacher", "test", 0.95), evaluation(0, "student", "test", 0.55)]
    for step in range(0, steps + 1, steps // 10):
        reached = 0.55 + gain * (1 - np.exp(-3 * step / steps)) + 0.02 * rng.standard_normal()
        rows.append(evaluation(step, "student", "validation", float(reached)))
    reached = 0.55 + gain + 0.02 * rng.standard_normal()
    return [*rows, evaluation(steps, "student", "test", float(reached))]


def evaluation(step: int, model: str, split: str, accuracy: float) -> dict[str, Any]:
    kinds = {f"eval/acc_1/{kind}": min(1.0, accuracy + more) for kind, more in KINDS.items()}
    numbers = {"eval/acc_1": accuracy, "eval/acc_k": accuracy - 0.1, "eval/blind": 0.1}
    return {"step": step, "model": model, "split": split, "n": 500, "k": 4} | numbers | kinds


def write_tokens(folder: Path, count: int = 6) -> None:
    """A tokens.json of hostile answers; the third token of the first one is an outlier."""
    rng = np.random.default_rng(0)
    answers = [answer(i, rng) for i in range(count)]
    strategies = {name: {"kind": "advantage"} for name in ("raw_kl", "gndpo")}
    found = {"step": 120, "model": "student", "strategies": strategies, "answers": answers}
    (folder / "tokens.json").write_text(json.dumps(found))


def answer(place: int, rng: np.random.Generator) -> dict[str, Any]:
    text = ["<think>", " 3", HOSTILE if place == 0 else " 7", "\n", "ĠtheĠ", "</think>", "7"]
    teacher = rng.normal(-0.4, 0.3, len(text))
    teacher[2] = -12.5 if place == 0 else -1.0
    student = np.full(len(text), -0.2)
    ratio = teacher - student
    white = np.clip(ratio, -5, 5)
    white = (white - white.mean()) / white.std()
    return {
        "prompt": f"<|im_start|>user\nwhat is the largest digit ? {HOSTILE}",
        "images": [picture(place)],
        "truth": "7",
        "kind": "maximum",
        "text": "".join(text),
        "reward": 1.0,
        "correct": place % 2 == 0,
        "tokens": {
            "text": text,
            "student": student.tolist(),
            "teacher": teacher.tolist(),
            "log_ratio": ratio.tolist(),
            "visual": np.abs(rng.normal(0, 1, len(text))).tolist(),
            "entropy": rng.random(len(text)).tolist(),
        },
        "advantages": {"raw_kl": ratio.tolist(), "gndpo": white.tolist()},
        "losses": {"full_kl": np.abs(ratio).tolist()},
        "notes": {"trust_region/accepted": (np.abs(ratio) < 2).astype(float).tolist()},
    }


def picture(place: int) -> str:
    """A small image as a data URI."""
    pixels = np.random.default_rng(place).integers(0, 255, (28, 56), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def write_sweep(root: Path, seeds: int = 3, steps: int = 120) -> Path:
    """Five strategies; one run failed, one is running, one has its tokens inspected."""
    for strategy in SHAPES:
        for seed in range(seeds):
            broken = {"status": "failed", "reason": "loss was not finite"}
            info = broken if (strategy, seed) == ("raw_kl", 2) else {}
            write_run(root / f"{strategy}-{seed}", strategy, seed, steps, **info)
    write_tokens(root / "gndpo-0")
    return root
