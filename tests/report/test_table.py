"""Cells, tables and sentences."""

import csv
import io

import pytest
from rich.console import Console

from gndpo.report import table
from gndpo.report.measures import Summary
from gndpo.report.stats import interval
from gndpo.report.verdict import verdict


def arm(name, accuracies, unfinished=0, **values):
    known = {"accuracy": interval(accuracies)} if accuracies else {}
    known |= {key: interval(value) for key, value in values.items()}
    return Summary(name, name, len(accuracies), unfinished, known)


@pytest.mark.parametrize(
    ("values", "spread", "text"),
    [
        ([0.5, 0.6, 0.7], "interval", "60.0 ± 24.8"),
        ([0.5], "interval", "50.0"),
        ([0.5, 0.6, 0.7], "range", "60.0 (50.0-70.0)"),
        ([0.5, 0.5], "range", "50.0"),
        ([0.5, 0.6, 0.7], "none", "60.0"),
    ],
)
def test_a_cell_shows_the_spread_it_is_asked_for(values, spread, text):
    column = table.Column("x", "x", table.percent, spread)
    assert table.cell(interval(values), column) == text
    assert table.cell(None, column) == "-"


def test_a_gain_has_its_sign_and_its_spread_has_none():
    column = next(column for column in table.LEARNING if column.key == "gain")
    assert table.cell(interval([0.1, 0.2, 0.3]), column) == "+20.0 ± 24.8"
    assert table.cell(interval([-0.1]), column) == "-10.0"
    assert table.cell(interval([-0.0001]), column) == "+0.0"


def test_the_tables_fit_into_120_columns():
    values = {
        "gain": [-0.2, 0.5, 0.4], "gap_closed": [-1.0, 0.1, 0.4], "accuracy_t1": [0.1, 0.5, 0.9],
        "blind": [0.1], "kl": [0.000219], "seconds": [0.123], "grad_norm": [0.00218],
        "tail_ratio": [3.88, 897], "spikes": [1.0, 8.0], "cosine": [-0.0578], "variation": [0.419],
        "clipped": [1.0], "skipped": [0.0], "lost": [0.393],
    }  # fmt: skip
    row = arm("methods/several_teachers", [0.1, 0.5, 0.9], unfinished=1, **values)
    reference = Summary("teacher (self_supervised, vcsd)", None, 0, 0, {})
    console = Console(width=160, file=io.StringIO())
    for columns in (table.LEARNING, table.STABILITY):
        assert console.measure(table.terminal("x", [reference, row], columns)).maximum <= 120


def test_numbers_keep_three_digits():
    written = [table.digits(x) for x in (0.01234, 12.345, 1234.5, 5e7)]
    assert written == ["0.0123", "12.3", "1,234", "5e+07"]
    assert [table.count(x) for x in (0.0, 4 / 3)] == ["0", "1.3"]


def test_markdown_has_one_line_per_row_and_no_gaps():
    rows = [
        Summary("teacher", None, 0, 0, {"accuracy": interval([0.95])}),
        arm("gndpo", [0.7, 0.7, 0.7], unfinished=1),
    ]
    assert table.markdown(rows, table.LEARNING[:3]) == (
        "|  | runs | accuracy % | gain points | gap closed % |\n"
        "| --- | ---: | ---: | ---: | ---: |\n"
        "| teacher | - | 95.0 | - | - |\n"
        "| gndpo | 3 of 4 | 70.0 ± 0.0 | - | - |\n"
    )


def test_csv_holds_unrounded_numbers_and_blanks():
    text = table.as_csv([arm("gndpo", [0.5, 0.6, 0.7], unfinished=1)])
    (row,) = csv.DictReader(io.StringIO(text))
    assert (row["name"], row["completed"], row["unfinished"]) == ("gndpo", "3", "1")
    assert float(row["accuracy_mean"]) == pytest.approx(0.6)
    assert float(row["accuracy_ci95"]) == pytest.approx(0.2484138)
    assert (row["accuracy_min"], row["kl_mean"]) == ("0.5", "")


def test_verdict_names_best_overlap_stability_and_losses():
    text = verdict(
        [
            arm(
                "low", [0.50, 0.51, 0.52], gap_closed=[-0.1, -0.11, -0.12], tail_ratio=[9.0],
                spikes=[4.0],
            ),
            arm(
                "same", [0.56, 0.50, 0.58], gap_closed=[0.02, -0.1, 0.1], tail_ratio=[2.0],
                spikes=[0.0],
            ),
            arm(
                "good", [0.80, 0.81, 0.82], gap_closed=[0.6, 0.61, 0.62], tail_ratio=[3.0],
                spikes=[0.0],
            ),
        ]
    )  # fmt: skip
    assert "good learned most (81.0 ± 2.5%, 61% of the gap to the teacher)" in text
    assert "its interval lies clear of the next, same (54.7 ± 10.3%)" in text
    assert "p99/median of the gradient norm: same (2), least low (9)" in text
    assert "spikes per run: same, good (0), least low (4)" in text
    assert "Worse than the base student: low (51.0 ± 2.5%)" in text
    assert "Not shown to be better than the base student: same" in text


def test_verdict_admits_overlap_and_missing_intervals():
    overlap = verdict([arm("a", [0.5, 0.6, 0.7]), arm("b", [0.5, 0.6, 0.69])])
    assert "its interval overlaps that of the next, b" in overlap
    single = verdict([arm("a", [0.6]), arm("b", [0.5])])
    assert "with one seed there is no interval" in single


def test_verdict_of_unfinished_runs():
    text = verdict([arm("a", [], unfinished=2)])
    assert text.startswith("No strategy has a final test accuracy yet.")
    assert text.endswith("left out of all numbers: 2 of 2 of a.")


def test_verdict_of_many_arms_names_five_and_counts_the_rest():
    arms = [
        arm(f"a{i:02d}", [0.5, 0.6], unfinished=1, gain=[-0.05, 0.05], spikes=[0.0])
        for i in range(40)
    ]
    text = verdict(arms)
    assert "spikes per run: a00, a01, a02, a03, a04 and 35 others (0)" in text
    assert text.startswith("a00, a01, a02, a03, a04 and 35 others learned the same (55.0")
    assert text.count("a04 (55.0") == 1
    assert "a05" not in text
    assert text.count("and 35 others") == 4


def test_verdict_ranks_by_gain_where_students_start_apart():
    arms = [
        arm("strong", [0.9, 0.9], gain=[0.0, 0.01]),
        arm("learner", [0.7, 0.7], gain=[0.3, 0.31]),
    ]
    text = verdict(arms)
    assert text.startswith("learner learned most (70.0 ± 0.0%, +30.5 points), and its interval")
    assert "Not shown to be better than the base student: strong" in text
    assert verdict([arms[0], arm("untested", [0.95, 0.95])]).startswith("untested learned most")
