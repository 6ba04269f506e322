"""The four formats hold the same cells, and none breaks on signs that mean something to it."""

import re
from html.parser import HTMLParser

import pytest

from gndpo.report.load import find_runs
from gndpo.tables.definition import names
from gndpo.tables.measured import fill
from gndpo.tables.numbers import numbers
from gndpo.tables.sheet import Cell, Grid, Line, Sheet, letter, sheet
from gndpo.tables.write import html, latex, markdown, terminal

HOSTILE = r"50% & <b>a_b</b> | {x} #1 $2 \y"


@pytest.fixture
def page(table, adaptive):
    """page(name): its sheet with the runs of vgs/adaptive."""

    def make(name: str = "vgs/adaptive") -> Sheet:
        one = table(name)
        filled = fill(one, find_runs([adaptive]))
        return sheet(one, numbers(one, filled), filled, ["gndpo-train -m x=1,2 sweep=a_b"])

    return make


@pytest.fixture
def hostile() -> Sheet:
    line = Line(HOSTILE, HOSTILE, (Cell(HOSTILE, "a"), Cell("-1.00 ± 0.50")))
    grid = Grid(HOSTILE, (HOSTILE, "x"), (line,))
    return Sheet(HOSTILE, HOSTILE, (HOSTILE,), (grid,), {"a": HOSTILE}, (HOSTILE,))


@pytest.mark.parametrize("name", names())
def test_every_table_is_well_formed_in_every_format(page, name) -> None:
    one = page(name)
    check_markdown(markdown(one), one)
    check_latex(latex(one), one)
    check_html(html(one), one)


def test_signs_that_mean_something_are_escaped(hostile) -> None:
    check_markdown(markdown(hostile), hostile)
    check_latex(latex(hostile), hostile)
    check_html(html(hostile), hostile)
    assert "<b>" not in html(hostile)
    assert r"50\% \& $<$b$>$a\_b$<$/b$>$ | \{x\} \#1 \$2 \textbackslash{}y" in latex(hostile)
    assert r"$-$1.00 $\pm$ 0.50" in latex(hostile)


def check_markdown(text: str, one: Sheet) -> None:
    tables = [block for block in text.split("\n\n") if block.startswith("|")]
    assert len(tables) == len(one.grids)
    for block, grid in zip(tables, one.grids, strict=True):
        lines = block.splitlines()
        assert len(lines) == 2 + len(grid.lines)
        assert {len(re.findall(r"(?<!\\)\|", x)) for x in lines} == {len(grid.header) + 3}


def check_latex(text: str, one: Sheet) -> None:
    code = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    for name in ("table", "tabular"):
        counts = [len(re.findall(rf"\\{part}{{{name}}}", code)) for part in ("begin", "end")]
        assert counts == [len(one.grids)] * 2
    depth = 0
    for sign in re.findall(r"(?<!\\)[{}]", code.replace(r"\\", "")):
        depth += 1 if sign == "{" else -1
        assert depth >= 0
    assert depth == 0
    assert len(re.findall(r"(?<!\\)\$", code)) % 2 == 0
    assert not re.search(r"(?<!\\)[#_]", code)
    bodies = re.findall(r"\\toprule\n(.*?)\\bottomrule", code, re.S)
    for body, grid in zip(bodies, one.grids, strict=True):
        rows = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert len(rows) == 1 + len(grid.lines)
        assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {len(grid.header) + 1}


class Balanced(HTMLParser):
    """Fails on a tag that is not closed in its place; keeps the cells of every row."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.rows: list[int] = []

    def handle_starttag(self, tag, attrs) -> None:
        if tag != "meta":
            self.open.append(tag)
        if tag == "tr":
            self.rows.append(0)
        if tag in ("td", "th"):
            self.rows[-1] += 1

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag


def check_html(text: str, one: Sheet) -> None:
    parser = Balanced()
    parser.feed(text)
    assert parser.open == []
    assert parser.rows == [len(g.header) + 2 for g in one.grids for _ in range(1 + len(g.lines))]
    assert "src=" not in text
    assert "href=" not in text  # nothing is fetched


def test_a_note_stands_below_its_mark(page) -> None:
    text = markdown(page())
    assert "| standard OPD | published | 45.83 |" in text
    assert "43.74 [a] |" in text
    assert "- [a] the mean of the printed cells is 43.72" in text
    assert r"43.74\textsuperscript{a}" in latex(page())
    assert "43.74<sup>a</sup>" in html(page())


def test_unknown_cells_say_so(page) -> None:
    text = markdown(page("gndpo/main"))
    assert "every published cell is unknown" in text
    published = [line for line in text.splitlines() if "| published |" in line]
    assert published
    assert all(set(line.split("published")[1]) <= set("| -") for line in published)


def test_unreleased_models_and_rows_without_an_arm_are_named(page) -> None:
    text = markdown(page("tropd/multi_domain"))
    assert "Qwen3-SFT-1.7B and teacher Qwen3-Nemotron-4B" in text
    assert "Qwen3-VL-8B-Instruct after GRPO on Vision-SR1-47K" in markdown(page("vgs/main"))
    assert "JSD: no strategy here is its mix" in markdown(page("tropd/math"))


def test_commands_are_there_to_be_copied(page) -> None:
    one = page()
    assert "\n    gndpo-train -m x=1,2 sweep=a_b\n" in markdown(one)
    assert "% gndpo-train -m x=1,2 sweep=a_b\n" in latex(one)
    assert "<code>gndpo-train -m x=1,2 sweep=a_b</code>" in html(one)


def test_the_terminal_shows_marks_beside_cells(page) -> None:
    assert terminal(page().grids[0]).columns[-1]._cells[0].plain == "43.74 a"


def test_letters_go_on_after_z() -> None:
    assert [letter(i) for i in (0, 25, 26, 27, 52)] == ["a", "z", "aa", "ab", "ba"]
