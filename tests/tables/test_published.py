"""The papers' cells: their means are computed again, and what is wrong with them is known."""

from math import floor

import pytest

from gndpo.tables.definition import names
from gndpo.tables.measured import questions
from gndpo.tables.published import MEAN, Published, read_published, wrong_means

WRONG = {
    ("vgs/main", "acc@1", "standard_2b"): 43.72,  # printed 43.74
    ("vgs/main", "acc@1", "vgs_4b"): 58.19,  # printed 58.12
    ("vgs/main", "acc@16", "vgs_4b"): 57.37,  # printed 57.27
    ("vgs/adaptive", "acc@1", "standard"): 43.72,
    ("vgs/adaptive", "acc@1", "vgs"): 45.94,  # printed 46.10
}
COUNTED = ("mathverse_vision_dominant", "mathverse_vision_only", "visualpuzzles", "logicvista")


def test_all_printed_means_hold_but_these(table) -> None:
    found = {}
    for name in names():
        one = table(name)
        for panel in one.panels:
            benchmarks = [column.benchmark for column in panel.columns]
            for row, mean in wrong_means(one.published, panel.title, benchmarks).items():
                found[name, panel.title, row] = round(mean, 2)
    assert found == WRONG


def test_a_mean_may_be_off_by_rounding_alone() -> None:
    cells = {("r", "p", "a"): "10.00", ("r", "p", "b"): "10.01", ("r", "p", MEAN): "10.01"}
    assert wrong_means(Published(cells), "p", ["a", "b"]) == {}
    cells["r", "p", MEAN] = "10.03"
    assert wrong_means(Published(cells), "p", ["a", "b"]) == {"r": pytest.approx(10.005)}
    assert wrong_means(Published(cells), "p", ["a", "b", "c"]) == {}  # a cell is missing


def fits(text: str, n: int) -> bool:
    """Whether a number of right answers of n, rounded or cut, is printed so."""
    right = float(text) * n / 100
    shares = [100 * c / n for c in (floor(right), floor(right) + 1)]
    return any(text in (f"{x:.2f}", f"{floor(100 * x + 1e-9) / 100:.2f}") for x in shares)


@pytest.mark.parametrize("name", ["vgs/main", "vgs/rl", "vgs/adaptive"])
def test_greedy_cells_are_whole_numbers_of_questions_but_those_noted(table, name) -> None:
    one = table(name)
    for (row, panel, benchmark), text in one.published.cells.items():
        if panel == "acc@1" and benchmark in (*COUNTED, "mathvision"):
            note = one.published.notes.get((row, panel, benchmark), "")
            odd = "no number of right answers" in note or note.startswith("misprint")
            assert fits(text, questions()[benchmark]) != odd, (row, benchmark, text)


def test_a_row_that_two_tables_print_is_the_same_but_where_noted(table) -> None:
    """Rows are the same where their commands are."""
    seen: dict = {}
    apart = set()
    for name in names():
        one = table(name)
        for place, text in one.published.cells.items():
            row, panel, benchmark = place
            if benchmark == MEAN or one.rows[row].without:
                continue
            who = (*one.rows[row].overrides, one.rows[row].checkpoint)
            key = (who, panel if panel.startswith("acc@") else "", benchmark)
            before, noted = seen.setdefault(key, (text, place in one.published.notes))
            if before != text:
                apart.add((name, row, benchmark))
                assert noted or place in one.published.notes
    assert apart == {
        ("vgs/main", "vgs_2b", "visualpuzzles"),  # the misprint is the other table's
        ("tropd/single_domain", "tropd", "amc23"),
    }


def test_gndpos_cells_are_unknown(table) -> None:
    for name in ("gndpo/main", "gndpo/ladder"):
        assert table(name).published == Published()
        assert any("unknown" in remark for remark in table(name).remarks)


def test_headlines_of_the_papers(table) -> None:
    """Gains that their texts state."""
    b = table("tropd/multi_domain").published
    gains = [
        b.value(("tropd_b", "B", name)) - b.value(("opd_b", "B", name))
        for name in ("aime25", "livecodebench_v6", "ifbench", "gpqa_diamond")
    ]
    assert gains == pytest.approx([3.34, 4.00, 5.11, 6.18])
    cells = [
        table("vgs/main").published.value((f"{x}_2b", "acc@1", MEAN)) for x in ("vgs", "standard")
    ]
    assert cells[0] - cells[1] == pytest.approx(2.36)  # printed as +2.37


def test_a_cell_outside_the_table_is_refused(tmp_path) -> None:
    file = tmp_path / "x.csv"
    file.write_text("row,panel,a,mean\nr,p,1.0,1.0\nq,p,1.0,1.0\n")
    with pytest.raises(Exception, match="q, p, a is no cell of the table"):
        read_published(file, {"p": (["r"], ["a"])})
    with pytest.raises(Exception, match="there is no such file; published: null"):
        read_published(tmp_path / "y.csv", {})
