"""Where gradients spiked, and where a step was skipped."""

from typing import Any

from gndpo.report.load import Run, series
from gndpo.report.stats import spike_places

MOST_MARKS = 200  # per run; a run that spikes more often has diverged


def marks(run: Run) -> dict[str, Any]:
    """Spikes as [step, norm], the largest where they are too many to draw, and skipped steps;
    `counts` is of all."""
    steps, norms = series(run.metrics, "grad/norm")
    spikes = spike_places(norms).tolist()
    drawn = sorted(spikes, key=lambda i: -norms[i])[:MOST_MARKS]
    skipped_at, skipped = series(run.metrics, "grad/skipped")
    skips = skipped_at[skipped > 0].astype(int).tolist()
    return {
        "spikes": [[int(steps[i]), float(norms[i])] for i in sorted(drawn)],
        "skipped": skips[:MOST_MARKS],
        "counts": {"spikes": len(spikes), "skipped": len(skips)},
    }
