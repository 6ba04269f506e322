"""The numbers of a step that every strategy shares; `metric_names` says what they mean."""

from collections.abc import Sequence

import torch
from torch import Tensor

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
        **{f"teacher/log_ratio_{name}": float(x) for name, x in summary(d_N).items()},
        "policy/kl_behaviour": float(behaviour_N.sum() / max(1, len(behaviour_N))),
    }


def signal_metrics(scores: Scores, signal: Signal) -> dict[str, float]:
    """Distribution of the advantage, and the mean of every note."""
    A_N = scores.pool(signal.advantage_BT).double()
    numbers = summary(A_N) | {"abs_p99": quantiles(A_N.abs(), (0.99,))[0]}
    notes = {
        f"note/{name}": float(scores.pool(x_BT).double().mean())
        for name, x_BT in signal.notes.items()
    }
    return {f"advantage/{name}": float(x) for name, x in numbers.items()} | notes


def rollout_metrics(answers: Answers, rewards: Sequence[Reward], dropped: int) -> dict[str, float]:
    """Length, end and author of the answers, and what they earned."""
    return {
        "rollout/length": mean(answers.length_B.tolist()),
        "rollout/truncated": mean(answers.truncated_B.tolist()),
        "rollout/own": mean((answers.author_BT == STUDENT)[answers.mask_BT].tolist()),
        "rollout/dropped": float(dropped),
        "reward/total": mean([r.total for r in rewards]),
        **{f"reward/{name}": mean([r.parts[name] for r in rewards]) for name in rewards[0].parts},
        "reward/timeouts": mean([float(r.timed_out) for r in rewards]),
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


def mean(values: list[float]) -> float:
    return float(torch.tensor(values, dtype=torch.float64).mean())
