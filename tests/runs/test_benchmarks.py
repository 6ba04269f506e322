"""gndpo-eval on a benchmark, with a tiny checkpoint: answers on disk, resumed, graded again."""

import json
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset, DatasetDict, Features, Image, List, Value
from hydra import compose, initialize_config_dir

from gndpo import evaluate
from gndpo.build import build, config_folder
from gndpo.runfolder import read_rows
from tests.runs.conftest import Finished, Run

COLUMNS = {"images": List(Image()), "problem": Value("string"), "answer": Value("string")}


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five questions about digits in the columns of Geometry3K."""
    with initialize_config_dir(config_folder(), version_base="1.3"):
        rows = build(compose("train").data.rows, "data.rows")("test", 0)
    records = [{name: rows[i][name] for name in COLUMNS} for i in range(5)]
    folder = tmp_path_factory.mktemp("digits") / "geometry3k"
    table = Dataset.from_list(records, features=Features(COLUMNS))
    DatasetDict({"test": table}).save_to_disk(folder)
    return folder


@pytest.fixture
def done(run: Run) -> Finished:
    finished = run("steps=1")
    assert finished.code == 0, finished.err
    return finished


@pytest.fixture
def asked(command: Any, done: Finished, data: Path) -> Any:
    """asked("benchmark.k=2") -> (exit code, stderr)."""

    def ask(*overrides: str) -> tuple[int, str]:
        return command(
            evaluate.main,
            f"run={done.folder}",
            "benchmark=geometry3k",
            f"benchmark.rows.source={data}",
            "benchmark.rows.template='{problem}'",
            "benchmark.max_tokens=5",
            "benchmark.k=3",
            *overrides,
        )

    return ask


def answers(done: Finished, name: str = "geometry3k-step1.jsonl") -> list[dict[str, Any]]:
    return list(read_rows(done.folder / "answers" / name))


def measured(done: Finished) -> list[dict[str, Any]]:
    """The lines of evaluations.jsonl."""
    return list(read_rows(done.folder / "evaluations.jsonl"))


def test_every_answer_is_kept_and_summed_up(done: Finished, asked: Any) -> None:
    code, err = asked()
    assert code == 0, err
    settings, *records = answers(done)
    assert settings["settings"]["k"] == 3
    assert [r["row"] for r in records] == [f"geometry3k/test/{i}" for i in range(5)]
    assert [a["draw"] for a in records[0]["answers"]] == [-1, 0, 1, 2]
    assert {"text", "length", "truncated", "parts"} == set(records[0]["answers"][0]) - {"draw"}
    assert "<IMG_CONTEXT>" in records[0]["prompt"]
    (line,) = measured(done)
    labels = {"benchmark": "geometry3k", "step": 1, "model": "student", "n": 5, "k": 3}
    assert labels.items() <= line.items()
    samples = [[a["parts"]["accuracy"] for a in r["answers"][1:]] for r in records]
    assert line["eval/acc_k"] == pytest.approx(sum(map(sum, samples)) / 15)
    assert line["eval/pass_k"] == pytest.approx(sum(map(max, samples)) / 5)
    assert 0 <= line["eval/acc_1"] <= 1
    assert line["eval/acc_1_se"] == pytest.approx(
        (line["eval/acc_1"] * (1 - line["eval/acc_1"]) / 5) ** 0.5
    )


def test_a_killed_evaluation_continues_and_batches_change_nothing(
    done: Finished, asked: Any
) -> None:
    """Three rows are there, the fourth line is cut off; no row that is there is written again."""
    asked("batch=5")
    file = done.folder / "answers" / "geometry3k-step1.jsonl"
    whole, before = file.read_text(), measured(done)[0]
    lines = whole.splitlines()
    marked = lines[1].replace('"index": 0', '"index": 0, "mark": 1')
    file.write_text("\n".join([lines[0], marked, *lines[2:4], lines[4][:50]]))
    code, err = asked("batch=1", "answers=2")
    assert code == 0, err
    assert file.read_text() == whole.replace(lines[1], marked)
    assert measured(done)[1] == before


def test_answers_are_graded_again_without_a_model(
    done: Finished, asked: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another reward, another number; the answers stay. The checkpoints are gone meanwhile."""
    asked()
    texts = [[a["text"] for a in r["answers"]] for r in answers(done)[1:]]
    file = done.folder / "checkpoints" / "step-0000001" / "student.safetensors"
    file.unlink()
    pattern = "{_target_: gndpo.grading.graders.pattern, _partial_: true, regex: '.*'}"
    code, err = asked(
        "~benchmark.reward.parts.accuracy", f"+benchmark.reward.parts.accuracy={pattern}"
    )
    assert code == 0, err
    assert [row["eval/acc_1"] for row in measured(done)][1] == 1.0
    assert [[a["text"] for a in r["answers"]] for r in answers(done)[1:]] == texts
    assert all(a["parts"]["accuracy"] == 1 for r in answers(done)[1:] for a in r["answers"])


def test_other_settings_are_refused(done: Finished, asked: Any) -> None:
    asked("benchmark.limit=1")
    code, err = asked("seed=1", "benchmark.limit=1")
    assert code != 0
    assert "was written with other settings (seed=0 there, 1 here); use those, or move the" in err
    assert "Traceback" not in err
    code, err = asked("benchmark.limit=2")  # a trial is extended
    assert code == 0, err
    assert [line["n"] for line in measured(done)] == [1, 2]


@pytest.mark.parametrize(
    ("checkpoint", "name"), [("teacher", "geometry3k-teacher"), ("base", "geometry3k-step0")]
)
def test_other_readers_have_files_of_their_own(
    done: Finished, asked: Any, checkpoint: str, name: str
) -> None:
    code, err = asked(f"checkpoint={checkpoint}", "benchmark.limit=1", "benchmark.k=0")
    assert code == 0, err
    assert len(answers(done, f"{name}.jsonl")) == 2
    assert "eval/acc_k" not in measured(done)[0]


def test_samples_follow_the_temperature_and_the_seed(done: Finished, asked: Any) -> None:
    """At a temperature near 0 every sample is the greedy answer."""
    asked("benchmark.temperature=1e-4", "benchmark.limit=2")
    for record in answers(done)[1:]:
        assert len({a["text"] for a in record["answers"]}) == 1


def test_several_benchmarks_in_one_command(
    command: Any, done: Finished, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    shared = [
        "rows.template='{problem}'",
        "max_tokens=2",
        "k=1",
        "limit=1",
        "rows.splits.test=test",
    ]
    shared += ["rows.fields.problem=problem", f"rows.source={data}"]
    overrides = [f"++benchmark.{x}" for x in shared]  # the group is swept over
    which = "benchmark=aime24,amc23"
    code, err = command(evaluate.main, "-m", f"run={done.folder}", which, *overrides)
    assert code == 0, err
    assert [line["benchmark"] for line in measured(done)] == ["aime24", "amc23"]


def test_results_of_another_harness(command: Any, done: Finished, tmp_path: Path) -> None:
    result = {"benchmark": "ifbench", "metric": "prompt strict", "value": 0.42, "n": 294}
    result |= {"samples": 1, "harness": "IFBench", "version": "1.0", "step": 1}
    (tmp_path / "r.json").write_text(json.dumps(result))
    code, err = command(evaluate.main, f"run={done.folder}", f"results={tmp_path}/r.json")
    assert code == 0, err
    assert measured(done) == [{"source": "imported", **result}]


def test_rows_without_an_end_need_a_limit(asked: Any) -> None:
    digits = "{_target_: gndpo.data.digits.DigitsRows, _partial_: true, kinds: [sum], images: null,"
    digits += " blocks: {test: [0, 300], train: [300, 600]}, language: plain, augment: null}"
    code, err = asked("~benchmark.rows", f"+benchmark.rows={digits}")
    assert code != 0
    assert "these rows have no end; give a number, such as benchmark.limit=9" in err


def test_a_device_that_is_not_there_is_refused(asked: Any) -> None:
    code, err = asked("device=gpu")
    assert code != 0
    assert "device=gpu cannot be used (Expected one of cpu, cuda" in err
    assert "use device=cpu" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("batch=0", "batch=0 must be a whole number, 1 or larger"),
        ("answers=0", "answers=0 must be a whole number, 1 or larger, or null"),
        ("seed=-1", "seed=-1 must be a whole number, 0 or larger"),
        ("benchmark.limit=0", "benchmark.limit=0 must be a whole number, 1 or larger, or null"),
        ("benchmark.k=many", "benchmark.k=many must be a whole number, 0 or larger"),
    ],
)
def test_numbers_are_checked_before_anything_is_asked(
    command: Any, override: str, sentence: str
) -> None:
    code, err = command(evaluate.main, "run=runs/x", "benchmark=geometry3k", override)
    assert code != 0
    assert sentence in err
    assert "Traceback" not in err


def test_the_batch_of_a_split_changes_no_number(command: Any, done: Finished) -> None:
    for batch in (2, 128):
        code, err = command(evaluate.main, f"run={done.folder}", "rows=5", "k=2", f"batch={batch}")
        assert code == 0, err
    one, other = measured(done)
    assert one == other
    assert one["n"] == 5
    assert {"eval/format", "eval/timeouts", "eval/blind"} <= one.keys()
