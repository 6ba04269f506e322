"""Run folders are read as they lie: cut off, damaged, half there."""

import json
import math

import pytest

from gndpo.errors import UserError
from gndpo.report.load import eval_rows, find_runs, read_log, read_rows, read_run, series


def test_a_cut_off_last_line_is_left_out_silently(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "a": 2.0}\n{"step": 2, "a": 3.0}\n{"step": 3, "a"')
    assert read_rows(path) == ([{"step": 1, "a": 2.0}, {"step": 2, "a": 3.0}], 0)


def test_a_damaged_line_in_the_middle_is_counted(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step"\n\n7\n{"step": 2}\n')
    assert read_rows(path) == ([{"step": 1}, {"step": 2}], 2)


def test_a_row_without_an_integer_step_is_unreadable(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"a": 1}\n{"step": "x"}\n{"step": null}\n7\n{"step": 2, "a": 3}\n')
    assert read_log(path) == ([{"step": 2, "a": 3}], 4)


def test_such_rows_are_counted_over_both_logs(tmp_path, make_run):
    folder = make_run(tmp_path / "run", "gndpo", 0)
    for log in ("metrics.jsonl", "eval.jsonl"):
        with (folder / log).open("a") as file:
            file.write('{"model": "student", "split": "test", "train/loss": 1.0}\n')
    run = read_run(folder)
    assert run.unreadable == 2
    assert all("step" in row for row in run.metrics + run.evals)


def test_a_missing_log_is_empty(tmp_path):
    assert read_rows(tmp_path / "eval.jsonl") == ([], 0)


def test_series_keeps_non_finite_values_and_the_last_write_of_a_step():
    rows = json.loads(
        '[{"step": 2, "a": NaN}, {"step": 1, "a": 5}, {"step": 1, "a": 6}, {"step": 3, "b": 1},'
        ' {"step": 4, "a": Infinity}, {"step": 5, "a": null}, {"step": 6, "a": "abc"}]'
    )
    steps, values = series(rows, "a")
    assert steps.tolist() == [1, 2, 4]
    assert values[0] == 6
    assert math.isnan(values[1])
    assert math.isinf(values[2])


def test_a_run_is_read_with_its_flat_configuration(tmp_path, make_run):
    run = read_run(make_run(tmp_path / "run", "gndpo", 2))
    assert (run.strategy, run.seed, run.experiment, run.completed) == ("gndpo", 2, "demo", True)
    assert run.config == {"seed": 0, "advantage.clamp": None, "optimizer.lr": 0.002}
    assert [row["step"] for row in eval_rows(run, "student", "test")] == [0, 60]


def test_runs_are_found_at_any_depth_and_once(tmp_path, make_run):
    make_run(tmp_path / "a" / "b" / "run", "gndpo", 0)
    make_run(tmp_path / "c", "gndpo", 1)
    found = find_runs([tmp_path, tmp_path / "a"])
    assert [run.seed for run in found] == [0, 1]


def test_nothing_to_report_is_said(tmp_path):
    with pytest.raises(UserError, match="no run found"):
        find_runs([tmp_path])
    with pytest.raises(UserError, match="no such folder"):
        find_runs([tmp_path / "typo"])


@pytest.mark.parametrize(
    ("text", "message"), [("{", "not valid JSON"), ('{"seed": 1}', "lacks strategy, status")]
)
def test_a_broken_run_json_names_the_file(tmp_path, text, message):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(UserError, match=f"run.json: {message}"):
        find_runs([tmp_path])
