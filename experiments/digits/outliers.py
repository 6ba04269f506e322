"""Tokens beyond 5 nats in the runs of `run.sh gap`, by the images that the student has seen.

python experiments/digits/outliers.py runs/digits/gap
"""

import json
import sys
from pathlib import Path

import numpy as np

from gndpo.report.stats import interval

TEN = {"first ten steps": slice(10), "last ten": slice(-10, None)}


def rows(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def main(folder: str) -> None:
    for images in (20, 40, 160):
        runs = [rows(x) for x in sorted(Path(folder).glob(f"advantage=gndpo,*images={images},*"))]
        for when, part in TEN.items():
            clamped = interval([100 * np.mean([x["note/clamped"] for x in r[part]]) for r in runs])
            worst = np.mean([x["teacher/log_ratio_min"] for r in runs for x in r[part]])
            share = f"{clamped.mean:.1f} ± {clamped.half:.1f}% clamped"
            print(f"{images} images, {when}: {share}, worst token {worst:.1f} nats")


if __name__ == "__main__":
    main(*sys.argv[1:])
