"""The arithmetic of a plan, by hand for one preset."""

import csv
from pathlib import Path

import pytest

from gndpo.memory.prediction import GB
from gndpo.tables import cost
from gndpo.tables.plan import batch_of
from gndpo.tables.shapes import build, shapes

R1, TEACHER = "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B", "Skywork/Skywork-OR1-Math-7B"
PRESETS = Path(__file__).parents[2] / "experiments" / "memory" / "presets.md"


@pytest.fixture
def assumed(composed) -> cost.Assumed:
    return cost.Assumed(**composed("table").assume)


def test_shapes_have_the_published_number_of_weights() -> None:
    for name in (R1, "OpenGVLab/InternVL3_5-1B-HF", "Qwen/Qwen3-VL-2B-Instruct", "Qwen/Qwen3-1.7B"):
        count = sum(p.numel() for p in build(name).parameters())
        assert count / 1e9 == pytest.approx(float(shapes()[name]["billions"]), rel=0.005)


def test_operations_of_a_forward() -> None:
    """R1-Distill-Qwen-1.5B: 1.777 billion weights of which 151936 x 1536 are looked up; 28 layers
    with queries of 12 x 128."""
    weights = 1_777_088_000 - 151936 * 1536
    assert cost.weights(build(R1)) == weights
    assert cost.forward(build(R1), 10, 0) == 20 * weights
    assert cost.forward(build(R1), 0, 10) == 10 * 4 * 28 * 1536
    tied = build("Qwen/Qwen3-1.7B")
    assert cost.weights(tied) == sum(p.numel() for p in tied.parameters())


def test_a_token_takes_what_is_slowest(assumed) -> None:
    """32 answers: weights 3.55 GB and the cache of 32 x (1024 + 2048) tokens of 28672 bytes, 2.8
    GB, at 1e12 bytes per second are 6.4 ms, below the 30 ms of kernels; 1024 answers are above."""
    assert cost.token_seconds(build(R1), 32, 8192, assumed) == 0.03
    many = cost.token_seconds(build(R1), 1024, 8192, assumed)
    assert many == pytest.approx((2 * 1_777_088_000 + 1024 * 3072 * 28672) / 1e12, rel=1e-4)


def test_a_training(composed, assumed) -> None:
    """TrOPD's OPD: 128 / 8 batches of half of 8192 tokens at 30 ms; two scores and an update with
    checkpointing, four forwards of the student, at 0.3 x 312e12; 4 checkpoints of masters and two
    moments."""
    one = cost.training(
        composed("train", "experiment=tropd/r1_distill_1_5b", "advantage=raw_kl"), assumed
    )
    tokens = 128 * (1024 + 4 * 2048)
    pairs = 128 * (1024**2 / 2 + 4 * (1024 * 2048 + 2048**2 / 2))
    student = 2 * (1_777_088_000 - 151936 * 1536) * tokens + 4 * 28 * 1536 * pairs
    weights = sum(p.numel() for p in build(TEACHER).parameters())
    teacher = 2 * (weights - 152064 * 3584) * tokens + 4 * 28 * 3584 * pairs
    step = 16 * 4096 * 0.03 + (5 * student + teacher) / (0.3 * 312e12)
    assert one.seconds == pytest.approx(200 * step)
    assert one.evaluation == pytest.approx((2 * 4096 + 3 * 4096) * 0.03)
    assert one.disk == 4 * 12 * 1_777_088_000


@pytest.mark.parametrize(
    ("checkpoint", "evaluation", "stay"),
    [
        ("{every:20,keep:4,best:null}", "{every:5}", 4),  # 20, 40, 60, 65
        ("{every:20,keep:4,best:eval/acc_1}", "{every:5}", 5),  # and 5, for example
        ("{every:20,keep:2,best:eval/acc_1}", "{every:20}", 3),
        ("{every:20,keep:4,best:eval/acc_1}", "{every:20}", 4),  # the best is one of the four
        ("{every:20,keep:9,best:eval/acc_1}", "{every:5}", 10),
        ("{every:20,keep:4,best:eval/acc_1}", "{every:5,validation:0}", 4),  # nothing is best
        ("{every:0,keep:4,best:eval/acc_1}", "{every:0}", 1),
    ],
)
def test_the_best_checkpoint_counts_where_it_need_not_be_among_the_last(
    composed, checkpoint, evaluation, stay
) -> None:
    given = ("steps=65", f"checkpoint={checkpoint}", f"eval={evaluation}")
    assert cost.checkpoints(composed("train", *given)) == stay


def test_what_a_teacher_begins_costs_its_own_batches(composed, assumed) -> None:
    arm = ("experiment=tropd/r1_distill_1_5b", "advantage=raw_kl")
    plain = cost.training(composed("train", *arm), assumed)
    begun = cost.training(composed("train", *arm, "rollout=prefix"), assumed)
    assert begun.seconds - plain.seconds == pytest.approx(200 * 16 * 4096 * 0.03)


def test_peaks_are_those_of_the_table_of_presets(composed, assumed) -> None:
    lines = csv.reader(PRESETS.read_text().splitlines(), delimiter="|")
    known = {line[1].strip(" `"): line[3].strip() for line in lines if len(line) > 3}
    for preset in ("gndpo/internvl3_5_1b", "tropd/r1_distill_1_5b"):
        given = f"experiment={preset}"
        peak = cost.training(composed("train", given), assumed).peak
        assert f"{peak / GB:.0f}" == known[given]


def test_a_model_without_a_shape_and_an_adapter_have_no_cost(composed, assumed) -> None:
    assert cost.training(composed("train", "experiment=tropd/qwen3_sft_1_7b"), assumed) is None
    adapted = composed("train", "experiment=tropd/r1_distill_1_5b", "model.adapter={r:8}")
    assert cost.training(adapted, assumed) is None


def test_an_evaluation(composed, assumed) -> None:
    """AIME: 30 questions, one at a time, 32 samples each, half of 32768 tokens at 30 ms."""
    section = composed("evaluate", "benchmark=aime24").benchmark
    one = cost.asked(section, 30)
    assert one == cost.Asked(30, (32,), 32768)
    assert batch_of(section, assumed.rows) == 1
    assert cost.evaluation(build(R1), one, 1, assumed) == pytest.approx(30 * 16384 * 0.03)
    greedy = composed("evaluate", "benchmark=mmmu").benchmark
    assert cost.asked(greedy, 900).passes == (1,)
    assert batch_of(greedy, assumed.rows) == 32
