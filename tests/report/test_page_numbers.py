"""What becomes of numbers on their way into the page."""

import base64
import gzip
import json
import math

import numpy as np

from gndpo.report.arms import group
from gndpo.report.load import find_runs, read_run
from gndpo.report.page.accuracy import accuracy
from gndpo.report.page.configs import configs
from gndpo.report.page.curves import FEWEST, MOST, budget, curves, meaning, names
from gndpo.report.page.fans import fans
from gndpo.report.page.gradients import MOST_MARKS, marks
from gndpo.report.page.packing import as_json, packed
from gndpo.report.page.thinning import buckets, even, thin


def test_thinning_keeps_ends_and_extremes():
    values = np.sin(np.arange(1000) / 50)
    values[437], values[612] = 40.0, -7.0
    kept = thin(values, 50)
    assert len(kept) <= 50
    assert {0, 437, 612, 999} <= set(kept)
    assert (np.diff(kept) > 0).all()


def test_thinning_keeps_every_single_spike_that_has_a_bucket_of_its_own():
    values = np.zeros(1000)
    spikes = np.arange(5, 1000, 20)  # one per bucket of 20
    values[spikes] = 9.0
    assert set(spikes) <= set(thin(values, 102))


def test_a_short_curve_stays_whole():
    assert thin(np.array([3.0, 1.0, 2.0]), 4).tolist() == [0, 1, 2]
    assert even(3, 60).tolist() == [0, 1, 2]
    assert even(101, 5).tolist() == [0, 25, 50, 75, 100]


def test_buckets_cover_all_once():
    spans = buckets(10, 3)
    assert [i for span in spans for i in range(10)[span]] == list(range(10))
    assert len(spans) == 3
    assert buckets(0, 3) == []


def test_numbers_keep_four_digits_and_json_has_no_nan():
    given = {"a": [1 / 3, 123456.0, 2e-9, math.nan, math.inf, 2.0], "b": (1, "x", None, True)}
    text = as_json(given)
    assert json.loads(text) == {
        "a": [0.3333, 123500, 2e-9, None, None, 2],
        "b": [1, "x", None, True],
    }
    assert text.startswith('{"a":[0.3333,123500,2e-09,null,null,2]')


def test_no_text_ends_its_script_element():
    text = as_json(["</script><img src=x onerror=alert(1)>", "<!--", "\u2028"])
    assert "<" not in text
    assert "\u2028" not in text
    assert json.loads(text)[0] == "</script><img src=x onerror=alert(1)>"


def test_packing_is_gzip_in_base64_and_repeatable():
    assert gzip.decompress(base64.b64decode(packed("größer"))).decode() == "größer"
    assert packed("x") == packed("x")


def test_marks_name_step_and_size(tmp_path, make_run):
    rows = [{"step": step, "grad/norm": 1.0, "grad/skipped": 0} for step in range(1, 31)]
    rows[19] |= {"grad/norm": 70.0}
    rows[24] |= {"grad/skipped": 1}
    run = read_run(make_run(tmp_path / "a", "gndpo", 0, metrics=rows))
    counts = {"spikes": 1, "skipped": 1}
    assert marks(run) == {"spikes": [[20, 70.0]], "skipped": [25], "counts": counts}


def test_marks_beyond_the_most_are_counted_and_the_largest_are_drawn(tmp_path, make_run):
    rows = [{"step": step, "grad/norm": 1.0, "grad/skipped": 0} for step in range(1, 2521)]
    for place, row in enumerate(rows[19::10]):
        row |= {"grad/norm": 9.0 + place, "grad/skipped": 1}
    run = read_run(make_run(tmp_path / "a", "gndpo", 0, metrics=rows))
    found = marks(run)
    assert found["counts"] == {"spikes": 251, "skipped": 251}
    assert len(found["spikes"]) == len(found["skipped"]) == MOST_MARKS
    assert found["spikes"][0] == [20 + 51 * 10, 9.0 + 51]


def test_every_metric_is_offered_in_a_sensible_order(sweep):
    found = names(find_runs([sweep]))
    assert found[0] == "validation/acc_1"
    assert found.index("train/loss") < found.index("teacher/kl") < found.index("time/step")
    assert {"advantage/std", "grad/cosine_halves"} <= set(found)


def test_meanings_come_from_their_single_definition():
    assert meaning("grad/norm") == "L2 norm of the gradient before clipping"
    assert meaning("note/gate") == meaning("note/<name>") != ""
    assert meaning("validation/acc_1/sum") == "greedy accuracy on questions of kind sum"
    assert meaning("nobody/knows") == ""


def test_curves_hold_seeds_and_bands(tmp_path, make_run):
    for seed, values in enumerate(([1.0, 4.0], [4.0, 16.0])):
        rows = [{"step": step, "train/loss": y} for step, y in enumerate(values)]
        make_run(tmp_path / str(seed), "gndpo", seed, metrics=rows)
    runs = find_runs([tmp_path])
    found = curves("train/loss", runs, group(runs), 100)
    assert found["runs"] == [[[0, 1], [1.0, 4.0]], [[0, 1], [4.0, 16.0]]]
    linear, geometric = found["arms"][0]
    assert linear == [[0, 1], [2.5, 10.0], [1.0, 4.0], [4.0, 16.0]]  # few seeds: their range
    np.testing.assert_allclose(geometric[1], [2.0, 8.0])


def test_a_curve_with_values_below_zero_has_no_geometric_mean(tmp_path, make_run):
    rows = [{"step": 0, "train/loss": -1.0}, {"step": 1, "train/loss": math.nan}]
    make_run(tmp_path / "a", "gndpo", 0, metrics=rows)
    runs = find_runs([tmp_path])
    assert curves("train/loss", runs, group(runs), 100) == {
        "runs": [[[0], [-1.0]]],
        "arms": [[[[0], [-1.0]], None]],
    }


def test_a_running_arm_has_a_curve_before_any_run_is_complete(tmp_path, make_run):
    make_run(tmp_path / "a", "gndpo", 0, status="running", step=30)
    runs = find_runs([tmp_path])
    assert curves("grad/norm", runs, group(runs), 100)["arms"][0][0] is not None


def test_more_curves_have_fewer_points_each():
    assert budget(1, 10) == MOST
    assert budget(200, 60) == budget(10_000, 60) + 45 == FEWEST + 45


def test_fans_keep_extremes_and_average_the_rest(tmp_path, make_run):
    for seed in range(2):
        rows = [
            {
                "step": step,
                "advantage/min": -1.0 - 8 * (step == 3) * seed,
                "advantage/p50": float(seed),
                "advantage/max": 2.0 + seed,
            }
            for step in range(1, 11)
        ]
        make_run(tmp_path / str(seed), "gndpo", seed, metrics=rows)
    runs = find_runs([tmp_path])
    (fan,) = fans("advantage", group(runs))
    assert fan["steps"] == list(range(1, 11))
    assert fan["quantiles"]["min"] == [-1, -1, -9, *[-1] * 7]
    assert fan["quantiles"]["p50"] == [0.5] * 10
    assert fan["quantiles"]["max"] == [3] * 10
    assert set(fan["quantiles"]) == {"min", "p50", "max"}  # older runs lack some
    assert fans("log_ratio", group(runs)) == [None]


def test_accuracy_by_kind_with_and_without_the_image(tmp_path, make_run):
    for seed, reached in enumerate((0.6, 0.8)):
        shared = {"split": "test", "eval/blind": 0.1}
        rows = [
            {"step": 0, "model": "teacher", "eval/acc_1": 0.95, "eval/acc_1/sum": 0.9} | shared,
            {"step": 0, "model": "student", "eval/acc_1": 0.5, "eval/acc_1/sum": 0.4} | shared,
            {"step": 9, "model": "student", "eval/acc_1": reached, "eval/acc_1/sum": 1.0} | shared,
        ]
        make_run(tmp_path / str(seed), "gndpo", seed, evals=rows)
    runs = find_runs([tmp_path])
    found = accuracy(runs, group(runs))
    base, teacher, arm = found["models"]
    assert found["kinds"] == ["sum"]
    assert (base["image"], base["kinds"], teacher["image"]) == ([0.5], [[0.4]], [0.95])
    np.testing.assert_allclose(arm["image"], [0.7, 0.7 - 12.706 * 0.1, 0.7 + 12.706 * 0.1], 1e-3)
    np.testing.assert_allclose(arm["blind"], [0.1, 0.1, 0.1])


def test_models_that_experiments_do_not_share_are_no_reference(tmp_path, make_run):
    for seed, base in enumerate((0.5, 0.6)):
        rows = [
            {"step": 0, "model": "teacher", "split": "test", "eval/acc_1": 0.9},
            {"step": 0, "model": "student", "split": "test", "eval/acc_1": base},
            {"step": 9, "model": "student", "split": "test", "eval/acc_1": 0.7},
        ]
        make_run(tmp_path / str(seed), "gndpo", 0, evals=rows, experiment=f"methods/{seed}")
    runs = find_runs([tmp_path])
    found = {model["name"]: model["image"] for model in accuracy(runs, group(runs))["models"]}
    assert (found["base student"], found["teacher"]) == (None, [0.9])


def test_an_accuracy_that_is_not_a_number_is_not_drawn(tmp_path, make_run):
    rows = [{"step": 9, "model": "student", "split": "test", "eval/acc_1": math.nan}]
    make_run(tmp_path / "a", "gndpo", 0, evals=rows)
    runs = find_runs([tmp_path])
    assert [model["image"] for model in accuracy(runs, group(runs))["models"]] == [None] * 3


def test_configurations_are_columns_of_codes(tmp_path, make_run):
    make_run(tmp_path / "a", "gndpo", 0, config="optimizer:\n  lr: 0.1\nsteps: 9\nseed: 0\n")
    make_run(tmp_path / "b", "gndpo", 1, config="optimizer:\n  lr: null\nsteps: 9\nseed: 1\n")
    found = configs(find_runs([tmp_path]))
    assert found["keys"] == ["optimizer.lr", "seed", "steps"]  # what differs comes first
    assert found["values"] == [["0.1", "null"], ["0", "1"], ["9"]]
    assert found["codes"] == [[0, 1], [0, 1], []]
    assert found["compared"] == ["optimizer.lr", "steps"]
