"""Every metric, defined once, the same for every strategy. A row of `metrics.jsonl` maps these
names to numbers."""

from collections.abc import Sequence

import torch
from torch import Tensor

from gndpo.rewards import Reward
from gndpo.rollout import Answers
from gndpo.scores import STUDENT, Scores
from gndpo.signal import Signal
from gndpo.stats import quantile

METRICS = {
    "train/loss": "what is minimized: surrogate plus matches, weighted",
    "train/lr": "learning rate of this step",
    "train/updates": "optimizer updates made so far, skipped ones not counted",
    "train/loss_<term>": "the weighted terms of the loss, where there are several",
    "policy/ratio_max": "largest importance ratio current / old",
    "policy/clip_fraction": "share of tokens whose surrogate was clipped",
    "policy/kl_behaviour": "mean of log behaviour - log old over what the student wrote, nats: "
    "0 for the local engine",
    "policy/entropy": "student entropy, nats (on a schedule, a sample of prompts)",
    "advantage/mean": "advantage over the step's valid tokens",
    "advantage/std": "spread of the advantage",
    "advantage/min": "smallest advantage",
    "advantage/max": "largest advantage",
    "advantage/abs_p99": "99th percentile of |advantage|",
    "teacher/log_ratio_mean": "log pi_T - log pi_S before any clamp, nats, over all valid tokens: "
    "minus reverse KL where the student wrote them",
    "teacher/log_ratio_std": "its spread",
    "teacher/log_ratio_min": "its smallest value: the worst outlier",
    "teacher/log_ratio_max": "its largest value",
    "teacher/log_ratio_p01": "its 1st percentile",
    "teacher/log_ratio_p50": "its median",
    "teacher/log_ratio_p99": "its 99th percentile",
    "teacher/kl": "KL(pi_S || pi_T) over the vocabulary, nats per token (on a schedule)",
    "teacher/entropy": "teacher entropy, nats (on a schedule)",
    "teacher/top1_agreement": "share of tokens where both prefer the same id (on a schedule)",
    "grad/norm": "L2 norm of the gradient before clipping",
    "grad/norm_vision": "the same, vision tower only",
    "grad/norm_projector": "the same, projector only",
    "grad/norm_language": "the same, language model only",
    "grad/clipped": "share of this step's updates whose gradient was clipped",
    "grad/skipped": "updates of this step skipped because the gradient was not finite",
    "grad/cosine_halves": "cosine of the gradients of the batch's halves (on a schedule)",
    "note/<name>": "mean of a strategy's note over the valid tokens (accepted, clamped, gate, ...)",
    "rollout/length": "mean answer length, tokens",
    "rollout/truncated": "share of answers without an end",
    "rollout/own": "share of the answers' tokens that the student wrote",
    "rollout/dropped": "prompts of this step dropped as too long",
    "reward/total": "mean reward",
    "reward/accuracy": "share of correct answers, as sampled",
    "reward/<part>": "mean of the reward's other parts, such as format: well-formed answers",
    "reward/timeouts": "share of answers that no grader could finish in time; they count as wrong",
    "time/prompts": "seconds until the prompts are ready",
    "time/rollout": "seconds to write the answers",
    "time/score": "seconds to score them, strategy included",
    "time/diagnose": "seconds for what runs on a schedule",
    "time/update": "seconds for loss, backward and optimizer",
    "time/step": "seconds for the whole step",
    "time/tokens_per_s": "answer tokens per second of the whole step",
}


def score_metrics(scores: Scores) -> dict[str, float]:
    """Distribution of the log-ratio before anything touches it, and how far the sampler was from
    the scored student."""
    d_N = scores.pool(scores.teacher.logp_BT - scores.student.logp_BT).double()
    behaviour_BT = scores.behaviour_logp_BT - scores.student.logp_BT
    behaviour_N = scores.pool(behaviour_BT, scores.own_BT).double()
    quantiles = {f"p{round(100 * q):02d}": quantile(d_N, q) for q in (0.01, 0.5, 0.99)}
    return {
        **{f"teacher/log_ratio_{name}": float(x) for name, x in (summary(d_N) | quantiles).items()},
        "policy/kl_behaviour": float(behaviour_N.sum() / max(1, len(behaviour_N))),
    }


def signal_metrics(scores: Scores, signal: Signal) -> dict[str, float]:
    """Distribution of the advantage, and the mean of every note."""
    A_N = scores.pool(signal.advantage_BT).double()
    numbers = summary(A_N) | {"abs_p99": quantile(A_N.abs(), 0.99)}
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
    return {"mean": x_N.mean(), "std": x_N.std(correction=0), "min": x_N.min(), "max": x_N.max()}


def mean(values: list[float]) -> float:
    return float(torch.tensor(values, dtype=torch.float64).mean())
