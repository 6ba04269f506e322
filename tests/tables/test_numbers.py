"""Means, intervals, differences and tests, computed by hand."""

import csv
import io
from math import atan, pi

import pytest

from gndpo.report.load import find_runs
from gndpo.tables.compare import over_questions
from gndpo.tables.measured import fill, values
from gndpo.tables.numbers import as_csv, numbers
from gndpo.tables.sheet import sheet
from tests.tables.conftest import answers, evaluation, write_rows, write_run

MMMU = ("acc@1", "mmmu_pro")
REST = ("logicvista", "mathverse_vision_dominant", "mathverse_vision_only", "visualpuzzles")
REST += ("mathvision", "vlmsareblind")


@pytest.fixture
def found(table, adaptive):
    """found(...) -> cells by place, of vgs/adaptive and the runs there are by then."""

    def read():
        one = table("vgs/adaptive")
        return numbers(one, fill(one, find_runs([adaptive])))

    return read


def test_mean_interval_and_difference(found) -> None:
    cell = found()["standard", *MMMU]
    assert cell.over.mean == pytest.approx(0.42)
    assert cell.over.half == pytest.approx(12.7062 * 0.02, rel=1e-5)  # t(0.975, 1) s / sqrt(2)
    assert cell.difference == pytest.approx(42.0 - 45.83)
    assert found()["standard", "acc@1", "logicvista"].over is None
    assert found()["standard", "acc@1", "mean"].over is None  # of seven columns six are missing


def test_paired_test_over_seeds(found) -> None:
    """0.46 - 0.40 and 0.48 - 0.44: mean 0.05, standard error 0.01, t = 5 with one degree of
    freedom, where Student's is Cauchy's distribution."""
    cell = found()["vgs", *MMMU]
    assert cell.seeds.difference == pytest.approx(0.05)
    assert cell.seeds.half == pytest.approx(12.7062 * 0.01, rel=1e-5)
    assert cell.seeds.p == pytest.approx(1 - 2 * atan(5) / pi)
    assert cell.seeds.n == 2
    assert cell.questions is None  # no answers are there


def test_one_common_seed_has_a_difference_alone(found) -> None:
    cell = found()["adaptive", *MMMU]
    assert (cell.seeds.difference, cell.seeds.n) == (pytest.approx(0.04), 1)
    assert cell.seeds.half is None
    assert cell.seeds.p is None


def test_the_mean_needs_every_column_of_a_seed(found, adaptive) -> None:
    for seed in (0, 1):
        rows = [evaluation(name, 1, acc_1=0.1 * (seed + 1)) for name in REST]
        write_rows(adaptive / f"full_kl-{seed}" / "evaluations.jsonl", rows[: 6 - seed])
    cell = found()["standard", "acc@1", "mean"]
    assert cell.over.n == 1
    assert cell.over.mean == pytest.approx((0.40 + 6 * 0.1) / 7)
    assert cell.difference == pytest.approx(100 * (0.40 + 0.6) / 7 - 43.74)


def test_questions_of_one_seed_are_mcnemars(found, adaptive) -> None:
    """Of eight questions the first row alone gets five right and the second one: p is twice the
    chance of at most 1 of 6."""
    (adaptive / "vgs-adaptive-0" / "answers").mkdir()
    (adaptive / "decomposed-0" / "answers").mkdir()
    name = "answers/mmmu_pro-step353.jsonl"
    write_rows(adaptive / "vgs-adaptive-0" / name, answers([1, 1, 1, 1, 1, 0, 1, 0]))
    write_rows(adaptive / "decomposed-0" / name, answers([0, 0, 0, 0, 0, 1, 1, 0]))
    cell = found()["adaptive", *MMMU].questions
    assert cell.n == 8
    assert cell.difference == pytest.approx(4 / 8)
    assert cell.p == pytest.approx(2 * 7 / 64)
    assert -1 <= cell.low < 0.5 < cell.high <= 1


def test_questions_of_a_teacher_are_in_its_own_file(table, tmp_path) -> None:
    """In the student's, of the same step, nothing is right."""
    folder = write_run(tmp_path / "a", "tropd/r1_distill_1_5b", "advantage=raw_kl")
    rows = [evaluation("aime24", 30, step=0, who=who, acc_k=0.5) for who in ("student", "teacher")]
    write_rows(folder / "evaluations.jsonl", rows)
    (folder / "answers").mkdir()
    for which, right in (("step0", 0), ("teacher", 1)):
        file = folder / "answers" / f"aime24-{which}.jsonl"
        write_rows(file, answers([0, 0], [[right, 0]] * 2))
    one = table("tropd/single_domain")
    filled = fill(one, find_runs([tmp_path]))
    column = next(x for x in one.panels[0].columns if x.benchmark == "aime24")
    start, teacher = (values(filled[key], one.rows[key], column) for key in ("start", "teacher"))
    assert over_questions(teacher, start, column).difference == 0.5


def test_part_of_a_benchmark_is_called_so(found, adaptive) -> None:
    rows = [evaluation("logicvista", 448, acc_1=0.5), evaluation("logicvista", 9, acc_1=0.9)]
    write_rows(adaptive / "full_kl-0" / "evaluations.jsonl", rows)
    cell = found()["standard", "acc@1", "logicvista"]
    assert cell.over.mean == 0.5  # the whole counts more than what came last
    assert cell.part == ""
    write_rows(
        adaptive / "full_kl-1" / "evaluations.jsonl", [evaluation("logicvista", 9, acc_1=0.9)]
    )
    assert found()["standard", "acc@1", "logicvista"].part == "9 or 448 of 448 questions"


def test_the_csv_has_it_unrounded(table, adaptive, found) -> None:
    lines = list(csv.DictReader(io.StringIO(as_csv(table("vgs/adaptive"), found()))))
    assert len(lines) == 3 * 8
    line = next(x for x in lines if (x["row"], x["column"]) == ("VGS", "mmmu_pro"))
    assert float(line["mean"]) == pytest.approx(47.0)
    assert line["published"] == "48.07"
    assert float(line["difference"]) == pytest.approx(47.0 - 48.07)
    assert float(line["against_difference"]) == pytest.approx(5.0)
    assert float(line["against_p"]) == pytest.approx(0.1257, abs=1e-4)
    assert (line["seeds"], line["against"], line["questions"]) == ("2", "standard", "")
    wrong = next(x for x in lines if (x["row"], x["column"]) == ("VGS", "mean"))
    assert wrong["note"] == "the mean of the printed cells is 45.94"


def test_what_is_written_of_it(table, adaptive, found) -> None:
    one = table("vgs/adaptive")
    page = sheet(one, found(), fill(one, find_runs([adaptive])), [])
    lines = {(x.row, x.what): x.cells[0].text for x in page.grids[0].lines}
    assert lines["standard OPD", "published"] == "45.83"
    assert lines["standard OPD", "here, n=2"] == "42.00 ± 25.41"
    assert lines["standard OPD", "difference"] == "-3.83"
    assert lines["VGS", "against standard OPD"] == "+5.00 ± 12.71, p=0.13"
    assert lines["VGS adaptive", "here, n=1"] == "50.00"
    assert lines["VGS adaptive", "against VGS"] == "+4.00"
    assert ("VGS", "over questions") not in lines


def test_other_harnesses_and_models_that_are_not_trained(table, tmp_path) -> None:
    experiment = "tropd/r1_distill_1_5b"
    folder = write_run(tmp_path / "a", experiment, "advantage=raw_kl")
    imported = {"source": "imported", "benchmark": "livecodebench_v6", "metric": "pass@1"}
    imported |= {"n": 175, "samples": 1, "harness": "LiveCodeBench", "version": "1"}
    measured = [
        imported | {"value": 0.2, "step": 353},
        imported | {"value": 0.1, "step": 0},
        imported | {"value": 0.9, "step": 353, "metric": "pass@5"},
        evaluation("aime24", 30, step=0, acc_k=0.3),
        evaluation("aime24", 30, step=0, who="teacher", acc_k=0.7),
        evaluation("aime24", 30, step=100, acc_k=0.99),  # not the last checkpoint
    ]
    write_rows(folder / "evaluations.jsonl", measured)
    one = table("tropd/single_domain")
    found = numbers(one, fill(one, find_runs([tmp_path])))

    def mean(row: str, benchmark: str) -> float | None:
        over = found[row, "single", benchmark].over
        return over and over.mean

    assert [mean(row, "livecodebench_v6") for row in ("start", "opd", "teacher")] == [
        0.1,
        0.2,
        None,
    ]
    assert [mean(row, "aime24") for row in ("start", "opd", "teacher")] == [0.3, None, 0.7]


def test_a_runs_own_test_rows(table, tmp_path) -> None:
    rows = [
        {"step": 0, "model": "student", "split": "test", "n": 601, "eval/acc_1": 0.1},
        {"step": 0, "model": "teacher", "split": "test", "n": 601, "eval/acc_1": 0.6},
        {"step": 353, "model": "student", "split": "validation", "n": 300, "eval/acc_1": 0.9},
        {"step": 353, "model": "student", "split": "test", "n": 601, "eval/acc_1": 0.3},
    ]
    write_run(tmp_path / "a", "gndpo/internvl3_5_1b", "advantage=gndpo", evals=rows)
    one = table("gndpo/main")
    found = numbers(one, fill(one, find_runs([tmp_path])))
    means = [
        found[row, "own test rows", "test"].over.mean for row in ("start_1b", "teacher", "gndpo_1b")
    ]
    assert means == [0.1, 0.6, 0.3]


def test_the_csv_gives_no_interval_of_a_model_that_is_not_trained(table, tmp_path) -> None:
    """Its evaluations repeat with every seed of the trained rows."""
    label = {"model": "student", "split": "test", "n": 601}
    rows = [label | {"step": step, "eval/acc_1": x} for step, x in ((0, 0.1), (353, 0.3))]
    for seed in (0, 1):
        given = ("gndpo/internvl3_5_1b", "advantage=gndpo")
        write_run(tmp_path / str(seed), *given, seed=seed, evals=rows)
    one = table("gndpo/main")
    found = as_csv(one, numbers(one, fill(one, find_runs([tmp_path]))))
    lines = [x for x in csv.DictReader(io.StringIO(found)) if x["mean"] and x["column"] == "test"]
    cells = {one.rows[key].label: key for key in ("start_1b", "gndpo_1b")}
    halves = {cells[x["row"]]: (x["half"], x["seeds"]) for x in lines if x["row"] in cells}
    assert halves == {"start_1b": ("", "2"), "gndpo_1b": ("0.0", "2")}
