"""What becomes of rewards: measures of an evaluation, metrics of a step."""

import pytest
import torch

from gndpo.benchmarks.answer_file import Record
from gndpo.benchmarks.benchmark import Benchmark, summary
from gndpo.evaluation import parts_of
from gndpo.metrics import rollout_metrics
from gndpo.rewards import Reward
from gndpo.rollout import Answers

REWARDS = [
    Reward(1.0, {"accuracy": 1.0, "format": 1.0}),
    Reward(0.1, {"accuracy": 0.0, "format": 1.0}, timed_out=True),
    Reward(0.0, {"accuracy": 0.0, "format": 0.0}),
    Reward(0.9, {"accuracy": 1.0, "format": 0.0}),
]


def test_parts_and_time_limits_are_measured() -> None:
    assert parts_of(REWARDS) == {"format": [1, 1, 0, 0], "timeouts": [0, 1, 0, 0]}


def test_metrics_of_a_step_name_every_part() -> None:
    B, T = len(REWARDS), 2
    zeros = torch.zeros(B, T)
    answers = Answers(zeros.long(), torch.ones(B).long(), zeros, torch.zeros(B), zeros.long())
    metrics = rollout_metrics(answers, REWARDS, dropped=0)
    found = {name: x for name, x in metrics.items() if name.startswith("reward/")}
    assert found == {
        "reward/total": 0.5,
        "reward/accuracy": 0.5,
        "reward/format": 0.5,
        "reward/timeouts": 0.25,
    }


def record(kind: str, draws: list[int]) -> Record:
    return {
        "index": 0,
        "row": "test/0",
        "prompt": "",
        "answer": "",
        "choices": [],
        "kind": kind,
        "fields": {"id": kind},
        "answers": [{"draw": d, "text": "", "length": 4, "truncated": d < 0} for d in draws],
    }


def benchmark(*, greedy: bool, k: int) -> Benchmark:
    def worst(records: object, correct: list[float]) -> dict[str, float]:
        return {"worst": min(correct)}

    asked = {"temperature": 1.0, "max_tokens": 4, "limit": None, "special": worst}
    return Benchmark("x", None, None, greedy=greedy, k=k, **asked)  # type: ignore[arg-type]


def test_greedy_and_samples_of_two_rows() -> None:
    """Greedy 1 and 0; samples 1, 0 and 0, 0."""
    right, wrong = (Reward(x, {"accuracy": x, "format": 1.0}) for x in (1.0, 0.0))
    records = [record("a", [-1, 0, 1]), record("b", [-1, 0, 1])]
    rewards = [[right, right, wrong], [wrong, wrong, wrong]]
    assert summary(benchmark(greedy=True, k=2), records, rewards) == {
        "acc_1": 0.5,
        "acc_1_se": pytest.approx(0.5 / 2**0.5),
        "acc_1/a": 1.0,
        "acc_1/b": 0.0,
        "worst": 0.0,
        "acc_k": 0.25,
        "acc_k_se": pytest.approx(0.25 / 2**0.5),
        "acc_k/a": 0.5,
        "acc_k/b": 0.0,
        "pass_k": 0.5,
        "worst_k": 0.0,
        "truncated": pytest.approx(1 / 3),
        "length": 4.0,
        "timeouts": 0.0,
        "format": 1.0,
    }


def test_samples_alone() -> None:
    right = Reward(1.0, {"accuracy": 1.0})
    found = summary(benchmark(greedy=False, k=1), [record("a", [0])], [[right]])
    assert found["acc_k"] == found["pass_k"] == 1.0
    assert found["acc_k_se"] == 0.0
    assert not any(name.startswith("acc_1") for name in found)
