"""The numbers of a step that every strategy shares; `metric_names` says what they mean."""

from collections.abc import Sequence

import torch
from torch import Tensor

from gndpo import ranks
from gndpo.engines.asking import FORBIDDEN, UNNAMED
from gndpo.rewards import Reward
from gndpo.rollout import Answers
from gndpo.scores import STUDENT, Scores
from gndpo.signal import Signal
from gndpo.stats import quantiles

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


def score_metrics(scores: Scores) -> dict[str, float]:
    """Distribution of the log-ratio before anything touches it, and how far the sampler was from
    the scored student."""
    d_N = scores.pool(scores.teacher.logp_BT - scores.student.logp_BT).double()
    behaviour_BT = scores.behaviour_logp_BT - scores.student.logp_BT
    behaviour_N = scores.pool(behaviour_BT, scores.own_BT).double()
    return {
        **{f"teacher/log_ratio_{name}": float(x) for name, x in summary(finite(d_N)).items()},
        "teacher/log_ratio_infinite": float((~d_N.isfinite()).sum()),
        "policy/kl_behaviour": float(behaviour_N.sum() / max(1, len(behaviour_N))),
        "policy/behaviour_gap": max(behaviour_N.abs().tolist(), default=0.0),
        **served_mass(scores),
    }


def served_mass(scores: Scores) -> dict[str, float]:
    """What a served teacher gave to ids that may not be written, and to those that it did not name;
    {} for a teacher here."""
    known = scores.teacher.known
    asked = {"forbidden_mass": FORBIDDEN, "unnamed_mass": UNNAMED}
    return {
        f"teacher/{name}": float(scores.pool(known[request]).mean())
        for name, request in asked.items()
        if request in known
    }


def signal_metrics(scores: Scores, signal: Signal) -> dict[str, float]:
    """Distribution of the advantage, and the mean of every note."""
    A_N = scores.pool(signal.advantage_BT).double()
    known_N = finite(A_N)
    numbers = summary(known_N) | {"abs_p99": quantiles(known_N.abs(), (0.99,))[0]}
    numbers["infinite"] = (~A_N.isfinite()).sum()
    notes = {
        f"note/{name}": float(scores.pool(x_BT).double().mean())
        for name, x_BT in signal.notes.items()
    }
    return {f"advantage/{name}": float(x) for name, x in numbers.items()} | notes


def rollout_metrics(
    answers: Answers, rewards: Sequence[Reward], dropped: int, row_B: Tensor | None = None
) -> dict[str, float]:
    """Length, end and author of all ranks' answers, and what they earned. row_B: `Scores.row_B`."""
    counts_B = answers.length_B > 0 if row_B is None else row_B >= 0
    earned = [r for r, counts in zip(rewards, counts_B.tolist(), strict=True) if counts]
    own = (answers.author_BT == STUDENT)[answers.mask_BT & counts_B[:, None]]
    values = {
        "rollout/length": answers.length_B[counts_B].tolist(),
        "rollout/truncated": answers.truncated_B[counts_B].tolist(),
        "rollout/own": own.tolist(),
        "reward/total": [r.total for r in earned],
        **{f"reward/{name}": [r.parts[name] for r in earned] for name in rewards[0].parts},
        "reward/timeouts": [float(r.timed_out) for r in earned],
    }
    every = ranks.everywhere((values, dropped))
    return {
        **{name: mean([x for found, _ in every for x in found[name]]) for name in values},
        "rollout/dropped": float(sum(count for _, count in every)),
    }


def summary(x_N: Tensor) -> dict[str, Tensor]:
    names = [f"p{round(100 * q):02d}" for q in QUANTILES]
    return {
        "mean": x_N.mean(),
        "std": x_N.std(correction=0),
        "min": x_N.min(),
        **dict(zip(names, quantiles(x_N, QUANTILES), strict=True)),
        "max": x_N.max(),
    }


def finite(x_N: Tensor) -> Tensor:
    """The finite values; a NaN where there are none."""
    known_N = x_N[x_N.isfinite()]
    return known_N if len(known_N) else x_N.new_full((1,), torch.nan)


def mean(values: list[float]) -> float:
    return float(torch.tensor(values, dtype=torch.float64).mean())
