"""From run folders to rows."""

import pytest

from gndpo.report.arms import group
from gndpo.report.load import find_runs
from gndpo.report.measures import measure, references, summarize

LATER = {"eval/acc_1": 0.75, "eval/acc_k": 0.6, "eval/blind": 0.1}


def evals(final, base=0.55, teacher=0.95):
    rows = [
        {"step": 0, "model": "student", "split": "test", "eval/acc_1": base},
        {"step": 0, "model": "teacher", "split": "test", "eval/acc_1": teacher},
    ]
    rows += [
        {"step": step, "model": "student", "split": "validation", "eval/acc_1": value}
        for step, value in enumerate([base, 0.8, 0.7])
    ]
    return [*rows, {"step": 2, "model": "student", "split": "test"} | final]


def metrics(**columns):
    length = len(next(iter(columns.values())))
    return [
        {"step": i + 1} | {name.replace("__", "/"): column[i] for name, column in columns.items()}
        for i in range(length)
    ]


def read_one(folder):
    return find_runs([folder])[0]


def test_one_run_measured_by_hand(tmp_path, make_run):
    rows = metrics(
        grad__norm=[1.0, 2.0, 3.0],
        grad__clipped=[1, 0, 0],
        grad__skipped=[0, 1, 1],
        grad__cosine_halves=[0.2, None, 0.4],
        teacher__kl=[1.0, None, 0.25],
        time__step=[0.5, 0.1, 0.3],
    )
    found = measure(
        read_one(make_run(tmp_path / "a", "gndpo", 0, metrics=rows, evals=evals(LATER)))
    )
    expected = {
        "accuracy": 0.75,
        "accuracy_t1": 0.6,
        "blind": 0.1,
        "gain": 0.2,
        "gap_closed": 0.5,
        "kl": 0.25,
        "grad_norm": 2.0,
        "tail_ratio": 1.49,  # quantile 0.99 of 1, 2, 3 is 2.98
        "cosine": 0.3,
        "clipped": 1 / 3,
        "skipped": 2,
        "lost": 0.1,
        "seconds": 0.3,
    }
    assert {key: found[key] for key in expected} == pytest.approx(expected)
    assert found["spikes"] is None
    assert found["pass_k"] is None


def test_the_untrained_student_is_no_result(tmp_path, make_run):
    rows = evals(LATER)[:-1]
    found = measure(read_one(make_run(tmp_path / "a", "gndpo", 0, evals=rows)))
    assert found["accuracy"] is None
    assert found["gain"] is None
    assert found["gap_closed"] is None


def test_the_gain_is_over_the_runs_own_base(tmp_path, make_run):
    for seed, (base, final) in enumerate([(0.2, 0.5), (0.6, 0.7), (0.4, 0.6)]):
        rows = evals({"eval/acc_1": final}, base=base, teacher=0.4)
        make_run(tmp_path / str(seed), "gndpo", seed, evals=rows)
    (arm,) = group(find_runs([tmp_path]))
    found = summarize(arm).values
    assert found["gain"].mean == pytest.approx(0.2)
    assert found["gain"].half == pytest.approx(4.302653 * 0.1 / 3**0.5)  # t(0.975, 2) s / sqrt(3)
    assert found["gap_closed"].n == 1  # only the first teacher was better than its student


def test_an_empty_run_measures_nothing(tmp_path, make_run):
    folder = make_run(tmp_path / "a", "gndpo", 0)
    for log in ("metrics.jsonl", "eval.jsonl"):
        (folder / log).write_text("")
    assert set(measure(read_one(folder)).values()) == {None}


def test_failed_runs_are_counted_and_not_averaged(tmp_path, make_run):
    for seed, accuracy in enumerate([0.7, 0.8, 0.1]):
        status = "failed" if seed == 2 else "completed"
        rows = evals({"eval/acc_1": accuracy})
        make_run(tmp_path / str(seed), "gndpo", seed, status=status, evals=rows)
    (arm,) = group(find_runs([tmp_path]))
    found = summarize(arm)
    assert (found.completed, found.unfinished) == (2, 1)
    assert found.values["accuracy"].mean == pytest.approx(0.75)
    assert found.values["accuracy"].n == 2


def test_references_are_measured_once_where_all_runs_agree(tmp_path, make_run):
    for seed in range(3):
        make_run(tmp_path / str(seed), "gndpo", seed, evals=evals(LATER))
    base, teacher = references(find_runs([tmp_path]))
    assert (base.name, teacher.name) == ("base student", "teacher")
    assert base.values["accuracy"].mean == pytest.approx(0.55)
    assert teacher.values["accuracy"].mean == pytest.approx(0.95)
    assert base.values["accuracy"].half is teacher.values["accuracy"].half is None


def test_references_are_kept_apart_where_experiments_have_other_models(tmp_path, make_run):
    for name, base in (("demo", 0.5), ("stress", 0.3)):
        rows = evals(LATER, base=base)
        make_run(tmp_path / name, "gndpo", 0, experiment=name, evals=rows)
    found = {row.name: row.values["accuracy"].mean for row in references(find_runs([tmp_path]))}
    assert found == {"base student (demo)": 0.5, "base student (stress)": 0.3, "teacher": 0.95}


def test_experiments_share_a_reference_where_their_models_are_the_same(tmp_path, make_run):
    models = {
        "": (0.5, 0.9),
        **dict.fromkeys(["methods/gkd", "methods/sft", "methods/topd"], (0.5, 0.9)),
        **dict.fromkeys(["methods/vcsd", "methods/self_supervised"], (0.5, 0.5)),
        "methods/grpo_teacher": (0.9, 0.9),
    }
    for name, (base, teacher) in models.items():
        rows = evals(LATER, base=base, teacher=teacher)
        make_run(tmp_path / (name or "none"), "gndpo", 0, experiment=name or None, evals=rows)
    untested = tmp_path / "untested"
    make_run(untested, "gndpo", 0, experiment="methods/trb", status="failed")
    (untested / "eval.jsonl").write_text("")
    found = {row.name: row.values["accuracy"].mean for row in references(find_runs([tmp_path]))}
    assert found == {
        "base student": 0.5,
        "base student (grpo_teacher)": 0.9,
        "teacher": 0.9,
        "teacher (self_supervised, vcsd)": 0.5,
    }


def test_students_of_several_sizes_are_kept_apart(tmp_path, make_run):
    """Two arms of either size: rows of the same student are one."""
    for images, base in ((20, 0.4), (160, 0.6)):
        for strategy in ("gndpo", "raw_kl"):
            typed = [f"advantage={strategy}", f"+model.pair.student.images={images}", "steps=4"]
            rows = evals(LATER, base=base)
            folder = tmp_path / f"{strategy}{images}"
            make_run(folder, strategy, 0, experiment=None, overrides=typed, evals=rows)
    found = {row.name: row.values["accuracy"].mean for row in references(find_runs([tmp_path]))}
    assert found == {
        "base student (model.pair.student.images=20)": 0.4,
        "base student (model.pair.student.images=160)": 0.6,
        "teacher": 0.95,
    }


def test_a_reference_of_many_experiments_is_shortened(tmp_path, make_run):
    for index in range(9):
        rows = evals(LATER, base=0.5 if index < 5 else 0.3)
        name = f"methods/long_name_{index}"
        make_run(tmp_path / name, "gndpo", 0, experiment=name, evals=rows)
    names = [row.name for row in references(find_runs([tmp_path]))]
    assert names == ["base student", "base student (long_name_5 +3)", "teacher"]


def test_one_odd_teacher_does_not_move_the_kl_of_the_base_student(tmp_path, make_run):
    for index, kl in enumerate([0.2, 0.2, 1.4]):
        rows = metrics(teacher__kl=[kl, 0.1])
        make_run(tmp_path / str(index), "gndpo", 0, metrics=rows, evals=evals(LATER))
    base, _ = references(find_runs([tmp_path]))
    assert base.values["kl"].mean == pytest.approx(0.2)
