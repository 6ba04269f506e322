"""A run from start to end: what it writes, that it repeats and continues, that arms start alike."""

import math
from pathlib import Path

import pytest
from safetensors.torch import load_file

from gndpo.build import config_folder
from gndpo.metric_names import METRICS
from tests.runs.conftest import Run

STRATEGIES = sorted(file.stem for file in (Path(config_folder()) / "advantage").glob("*.yaml"))
LOSSES = [0.475237, 0.798998, 0.677230]
NORMS = [2.543715, 3.558500, 3.598572]
SHARED = ("rollout/", "reward/", "teacher/log_ratio", "policy/kl_behaviour", "train/lr")


def numbers(rows: list[dict], *prefixes: str) -> list[dict]:
    """The rows without times, or only what starts with one of the prefixes."""
    return [
        {k: v for k, v in row.items() if (k.startswith(prefixes) if prefixes else "time/" not in k)}
        for row in rows
    ]


def test_a_run_leaves_everything_that_a_report_reads(run: Run) -> None:
    done = run("checkpoint.every=2")
    assert done.code == 0, done.err
    assert done.status["status"] == "completed"
    assert done.status["strategy"] == "raw_kl"
    rows = done.rows()
    assert [row["step"] for row in rows] == [1, 2, 3]
    patterns = {name.split("<")[0] for name in METRICS}
    for row in rows:
        assert all(math.isfinite(value) for value in row.values())
        assert all(k == "step" or k.startswith(tuple(patterns)) for k in row)
    scheduled = {"policy/entropy", "teacher/kl", "grad/cosine_halves"}
    assert scheduled <= rows[0].keys()
    assert not scheduled & rows[1].keys()
    evaluations = [(row["step"], row["model"], row["split"]) for row in done.rows("eval.jsonl")]
    assert evaluations == [
        (0, "student", "validation"),
        (0, "student", "test"),
        (0, "teacher", "test"),
        (2, "student", "validation"),
        (3, "student", "validation"),
        (3, "student", "test"),
    ]
    sample = done.rows("samples.jsonl")[0]
    assert len(sample["tokens"]["text"]) == len(sample["tokens"]["advantage"])
    assert "<IMG_CONTEXT>" in sample["prompt"]
    assert [path.name for path in (done.folder / "checkpoints").iterdir()]
    assert (done.folder / ".hydra" / "config.yaml").exists()


def test_parts_of_the_gradient_add_up(run: Run) -> None:
    for row in run().rows():
        parts = sum(row[f"grad/norm_{part}"] ** 2 for part in ("vision", "projector", "language"))
        assert row["grad/norm"] ** 2 == pytest.approx(parts, rel=1e-9)


def test_the_same_seed_gives_identical_metrics(run: Run) -> None:
    one, two, other = run(name="a"), run(name="b"), run("seed=1", name="c")
    assert numbers(one.rows()) == numbers(two.rows())
    assert numbers(one.rows()) != numbers(other.rows())


def test_all_strategies_start_from_the_same_rollouts_rewards_and_denominators(run: Run) -> None:
    first = {}
    for strategy in STRATEGIES:
        done = run(f"advantage={strategy}", "steps=1", name=strategy)
        assert done.code == 0, done.err
        row, samples = done.rows()[0], done.rows("samples.jsonl")
        tokens = [(s["prompt"], s["truth"], s["reward"], s["tokens"]["id"]) for s in samples]
        scores = [x for s in samples for x in s["tokens"]["student"]]
        first[strategy] = tokens, [*numbers([row], *SHARED)[0].values(), *scores]
    assert len(first) >= 5
    tokens, expected = first["raw_kl"]
    for same, found in first.values():
        assert same == tokens
        assert found == pytest.approx(expected, abs=2e-4)  # samples are rounded to 4 digits


@pytest.mark.parametrize("strategy", ["raw_kl", "decomposed"])
def test_a_run_continues_bitwise(run: Run, strategy: str) -> None:
    common = (f"advantage={strategy}", "steps=4", "checkpoint.every=2", "updates.minibatches=2")
    whole = run(*common, name="whole")
    cut = run(*common, name="cut")
    metrics = cut.folder / "metrics.jsonl"
    lines = metrics.read_text().splitlines()
    metrics.write_text("\n".join(lines[:3]) + "\n" + lines[3][:40])
    (cut.folder / "run.json").write_text(
        (cut.folder / "run.json").read_text().replace("completed", "running")
    )
    for late in (cut.folder / "checkpoints").glob("step-*4"):
        for file in late.iterdir():
            file.unlink()
        late.rmdir()
    again = run(*common, "ckpt=last", name="cut")
    assert again.code == 0, again.err
    assert numbers(again.rows()) == numbers(whole.rows())
    assert again.rows("eval.jsonl") == whole.rows("eval.jsonl")
    name = "checkpoints/step-0000004/student.safetensors"
    assert (again.folder / name).read_bytes() == (whole.folder / name).read_bytes()


def test_a_teacher_that_equals_the_student_teaches_nothing(run: Run, pair: dict[str, Path]) -> None:
    """For the strategies that promise it; the others are tested one by one, with the size of what
    they teach."""
    same = f"model.pair.teacher={pair['student']}"
    for strategy in ("raw_kl", "full_kl", "gndpo", "trust_region", "decomposed", "topd", "va_opd"):
        row = run(f"advantage={strategy}", "steps=1", same, name=strategy).rows()[0]
        assert row["teacher/kl"] == pytest.approx(0, abs=1e-6)
        extremes = [row[f"teacher/log_ratio_{x}"] for x in ("min", "max")]
        assert extremes == pytest.approx([0, 0], abs=1e-5)
        # Some divide that rounding by the root of their eps; a norm that teaches is above 1.
        assert row["grad/norm"] == pytest.approx(0, abs=0.02)


def test_the_trajectory_of_loss_and_gradient_norm_is_pinned(run: Run) -> None:
    """A change of these numbers is a change of the method; say so in CHANGELOG.md."""
    rows = run("seed=7").rows()
    assert [row["train/loss"] for row in rows] == pytest.approx(LOSSES, rel=1e-3)
    assert [row["grad/norm"] for row in rows] == pytest.approx(NORMS, rel=1e-3)


def test_microbatches_change_nothing_but_rounding(run: Run) -> None:
    one, split = run(name="one"), run("updates.micro=1", "updates.chunk=7", name="split")
    for a, b in zip(one.rows(), split.rows(), strict=True):
        assert a["train/loss"] == pytest.approx(b["train/loss"], rel=1e-4, abs=1e-6)
        assert a["grad/norm"] == pytest.approx(b["grad/norm"], rel=1e-4)


@pytest.mark.parametrize("surrogate", ["reinforce", "ppo", "gspo"])
def test_several_minibatches_and_epochs(run: Run, surrogate: str) -> None:
    done = run(
        f"surrogate={surrogate}", "updates.epochs=2", "updates.minibatches=2", "optimizer.lr=0.05"
    )
    assert done.code == 0, done.err
    assert done.rows()[-1]["train/updates"] == 3 * 4
    assert max(row["policy/ratio_max"] for row in done.rows()) > 1.01


def test_weights_that_overflow_stop_nothing_and_never_become_nan(run: Run) -> None:
    done = run("optimizer.lr=1e20", "updates.clip_norm=null", "schedule.warmup=0")
    assert done.code == 0, done.err
    assert done.rows()[-1]["grad/skipped"] == 1
    stored = load_file(done.folder / "checkpoints/step-0000003/student.safetensors")
    assert not any(x.isnan().any() for x in stored.values())
