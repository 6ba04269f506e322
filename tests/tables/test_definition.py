"""Every table names presets, arms and benchmarks that exist; a wrong definition is one sentence."""

import pytest
from omegaconf import OmegaConf

from gndpo.errors import UserError
from gndpo.tables.definition import OWN, names, option, read_table
from gndpo.tables.measured import questions

EXTERNAL = {"livecodebench_v6", "mmlu_redux", "ifbench"}
SPECIAL = {"dynamath": "worst", "wemath": "strict"}


def test_the_papers_tables_are_there() -> None:
    tropd = [f"tropd/{name}" for name in ("ablation", "math", "multi_domain", "single_domain")]
    vgs = [f"vgs/{name}" for name in ("adaptive", "main", "rl")]
    assert names() == ["gndpo/ladder", "gndpo/main", *tropd, *vgs]


@pytest.mark.parametrize("name", names())
def test_rows_are_presets_and_columns_benchmarks(table, composed, name) -> None:
    one = table(name)
    for key, row in one.rows.items():
        assert row.without or option(f"experiment/{row.experiment}").exists(), key
        arms = [x.partition("=")[2] for x in row.overrides if x.startswith("advantage=")]
        assert len(arms) == row.trained
        assert all(option(f"advantage/{arm}").exists() for arm in arms)
    for panel in one.panels:
        for column in panel.columns:
            if column.external:
                assert column.benchmark in EXTERNAL
                continue
            assert column.measure in ("acc_1", "acc_k", SPECIAL.get(column.benchmark))
            if column.benchmark != OWN:
                section = composed("evaluate", f"benchmark={column.benchmark}").benchmark
                assert section.greedy if column.measure == "acc_1" else section.k or section.special
                assert column.benchmark in questions()


@pytest.mark.parametrize("name", names())
def test_rows_differ_and_are_tested_against_what_their_panel_has(table, name) -> None:
    one = table(name)
    commands = [(row.checkpoint, *row.overrides) for row in one.rows.values() if not row.without]
    assert len(set(commands)) == len(commands)
    for panel in one.panels:
        for key in panel.rows:
            assert one.rows[key].against in (None, *panel.rows)
            assert one.rows[key].against != key


def plain(**changes):
    return {
        "title": "t",
        "source": "s",
        "sweep": "x",
        "published": None,
        "rows": {"a": {"label": "A", "experiment": "stress", "arm": "advantage=gndpo"}},
        "panels": {"p": {"columns": {"test/acc_1": "own"}}},
    } | changes


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"titel": "x"}, "table=mine: unknown key 'titel' (allowed: evaluate, panels,"),
        ({"rows": {"a": {"label": "A", "arms": "x"}}}, "rows.a: unknown key 'arms'"),
        ({"rows": {"a": {"label": "A"}}}, "rows.a needs an experiment, or without"),
        ({"rows": {"a": {"label": "A", "experiment": "stress"}}}, "rows.a.arm must name its"),
        (
            {"rows": {"a": {"label": "A", "experiment": "stress", "checkpoint": "first"}}},
            "rows.a.checkpoint=first; choose last, base, teacher",
        ),
        (
            {"rows": {"a": {"label": "A", "without": "none", "against": "b"}}},
            "rows.a.against=b is no row of the table",
        ),
        (
            {"panels": {"p": {"columns": {"mmmu": "x"}}}},
            "column mmmu must be <benchmark>/<measure>",
        ),
        (
            {"panels": {"p": {"columns": {"a/b": "x"}, "rows": ["z"]}}},
            "there is no row z; rows are a",
        ),
        (
            {"panels": {"p": {"columns": {"a/b": "x", "a/c": "y"}}}},
            "a has two columns; a benchmark",
        ),
        ({"published": "mine/none"}, "there is no such file; published: null means"),
    ],
)
def test_a_wrong_definition_is_one_sentence(changes, sentence) -> None:
    with pytest.raises(UserError) as caught:
        read_table(OmegaConf.create(plain(**changes)), "mine")
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_definition_needs_no_published_cells() -> None:
    one = read_table(OmegaConf.create(plain()), "mine")
    assert one.panels[0].rows == ("a",)
    assert not one.panels[0].averaged
    assert not one.published.cells
