"""Whatever became of runs, definitions and results, gndpo-table fills a paper's table with the rest
or says in one sentence what is broken."""

import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from gndpo.benchmarks.harness import import_results
from gndpo.mistakes import sentence
from gndpo.report.load import find_runs
from gndpo.runfolder import RunFolder
from gndpo.tables import cli, write
from gndpo.tables.definition import read_table
from gndpo.tables.measured import fill
from gndpo.tables.numbers import as_csv, numbers
from gndpo.tables.published import MEAN, read_published, wrong_means
from gndpo.tables.sheet import sheet
from gndpo.tables.tasks import tasks
from tests.fuzz.conftest import Fuzz, one_line, sentence_or
from tests.fuzz.test_configs import ODD, altered
from tests.fuzz.test_run_folders import damage, damaged
from tests.runs.conftest import command
from tests.tables.conftest import STEPS, answers, evaluation, write_rows, write_run

__all__ = ["command"]

FILES = (
    "run.json",
    "eval.jsonl",
    "evaluations.jsonl",
    f"answers/geometry3k-step{STEPS}.jsonl",
    ".hydra/config.yaml",
)
RESULT = {
    **{"benchmark": "livecodebench_v6", "metric": "pass@1", "value": 0.36, "n": 175, "samples": 1},
    **{"harness": "LiveCodeBench", "version": "a1b2c3", "step": STEPS},
}
TABLE: dict[str, Any] = {
    **{"title": "Mine", "source": "here", "sweep": "mine", "published": "vgs/rl"},
    **{"evaluate": "benchmark.k=4", "stand_in": "", "unreleased": ["the teacher"], "remarks": []},
    "rows": {
        "start": {"label": "start", "experiment": "quickstart", "checkpoint": "base"},
        "raw": {"label": "raw", "experiment": "quickstart", "arm": "advantage=raw_kl"},
        "ours": {
            **{"label": "GNDPO", "experiment": "quickstart", "arm": "advantage=gndpo"},
            **{"checkpoint": "last", "against": "raw"},
        },
        "theirs": {"label": "kept", "without": "the weights were not published"},
    },
    "panels": {
        "own": {
            "columns": {"test/acc_1": "own", "geometry3k/acc_1": "G3K"},
            "rows": ["start", "raw", "ours"],
        },
        "others": {"columns": {"livecodebench_v6/pass@1": "LCB"}, "rows": None},
    },
}
HARM = damage().map(lambda case: case[1])
CSV = "row,panel,a,b,mean\nr,p,10.00,12.00,11.00\ns,p,9.5,,\n"
NOTES = "row,panel,benchmark,note\nr,p,a,a misprint\n"


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds of two arms, with own, benchmark and imported results, and answers."""
    root = tmp_path_factory.mktemp("filled")
    for arm in ("raw_kl", "gndpo"):
        for seed in (0, 1):
            run = root / f"{arm}-{seed}"
            own = [
                {"step": s, "model": "student", "split": "test", "eval/acc_1": 0.5, "n": 8}
                for s in (0, STEPS)
            ]
            write_run(run, "quickstart", f"advantage={arm}", seed=seed, evals=own)
            lines = [evaluation("geometry3k", 3, acc_1=0.4), {"source": "imported", **RESULT}]
            write_rows(run / "evaluations.jsonl", lines)
            write_rows(run / FILES[3], answers([1, 0, seed], [[1, 0], [0, 0], [1, 1]]))
            (run / ".hydra").mkdir()
            (run / ".hydra" / "config.yaml").write_text("advantage: {clamp: 5.0}\nseed: 0\n")
    return root


def copied(filled: Path, to: Path) -> Path:
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(filled, to)
    return to


def make(definition: Any, runs: Path) -> None:
    """All that gndpo-table does but its plan."""
    table = read_table(OmegaConf.create(definition), "lab/mine")
    fillings = fill(table, find_runs([runs]))
    left = tasks(table, fillings, [0, 1, 2], lambda name: 4)
    found = numbers(table, fillings)
    page = sheet(table, found, fillings, [task.command for task in left])
    for grid in page.grids:
        Console(file=io.StringIO(), width=200).print(write.terminal(grid))
    for writer in write.WRITERS.values():
        assert writer(page)
    as_csv(table, found)


OWN = TABLE | {"published": None}


def test_the_undamaged_ones_fill_it(filled: Path) -> None:
    make(OWN, filled)


def test_a_table_of_broken_runs(filled: Path, tmp_path: Path, fuzz_some: Fuzz) -> None:
    def holds(case: tuple[str, list[tuple[str, Any]]]) -> None:
        name, harm = case
        runs = copied(filled, tmp_path / "runs")
        file = runs / "gndpo-1" / name
        content = file.read_bytes()
        for how, what in harm:
            content = damaged(name, content, how, what)
        file.write_bytes(content)
        sentence_or(make, OWN, runs)

    fuzz_some(st.tuples(st.sampled_from(FILES), HARM), holds)


def test_a_table_of_strange_lines(filled: Path, tmp_path: Path, fuzz_some: Fuzz) -> None:
    """Valid JSON at any depth, but not what we write: folders of other programs, edits by hand."""
    whole = {
        name: [json.loads(line) for line in (filled / "gndpo-1" / name).read_text().splitlines()]
        for name in FILES[:4]
    }

    def holds(case: tuple[str, Any]) -> None:
        name, lines = case
        runs = copied(filled, tmp_path / "runs")
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (runs / "gndpo-1" / name).write_text(text)
        sentence_or(make, OWN, runs)

    cases = st.sampled_from(FILES[:4]).flatmap(
        lambda name: st.tuples(st.just(name), altered(whole[name]))
    )
    fuzz_some(cases, holds)


def test_a_changed_definition(filled: Path, fuzz_some: Fuzz) -> None:
    def holds(definition: Any) -> None:
        try:
            OmegaConf.create(definition)
        except OmegaConfBaseException:  # Hydra's business: it cannot be composed
            return
        try:
            sentence_or(make, definition, filled)
        except OmegaConfBaseException as error:  # as the console says it
            one_line(sentence(error) or "")

    fuzz_some(st.sampled_from([TABLE, OWN]).flatmap(altered), holds)


def test_printed_cells_are_read_or_refused(tmp_path: Path, fuzz_some: Fuzz) -> None:
    def read(file: Path) -> None:
        published = read_published(file, {"p": (("r", "s"), ("a", "b"))})
        wrong_means(published, "p", ["a", "b"])
        for place in published.cells:
            published.value(place)
        published.value(("r", "p", MEAN))

    def holds(case: tuple[bool, list[tuple[str, Any]], Any]) -> None:
        beside, harm, odd = case
        cells, notes = CSV.encode(), NOTES.encode()
        for how, what in harm:
            cells, notes = (
                (cells, damaged(".yaml", notes, how, what))
                if beside
                else (damaged(".yaml", cells, how, what), notes)
            )
        cells = cells.replace(b"12.00", str(odd).encode(errors="replace"))
        (tmp_path / "x.csv").write_bytes(cells)
        (tmp_path / "x.notes.csv").write_bytes(notes)
        sentence_or(read, tmp_path / "x.csv")

    fuzz_some(st.tuples(st.booleans(), HARM, ODD), holds)


def test_results_of_other_harnesses(filled: Path, tmp_path: Path, fuzz_some: Fuzz) -> None:
    """They are appended, and the table is made with them; or nothing is."""
    file = tmp_path / "results.json"

    def holds(case: tuple[Any, list[tuple[str, Any]]]) -> None:
        content, harm = case
        runs = copied(filled, tmp_path / "runs")
        text = json.dumps(content).encode()
        for how, what in harm:
            text = damaged(".yaml", text, how, what)
        file.write_bytes(text)
        before = (runs / "gndpo-1" / "evaluations.jsonl").read_bytes()
        if isinstance(sentence_or(import_results, RunFolder(runs / "gndpo-1"), file), str):
            assert (runs / "gndpo-1" / "evaluations.jsonl").read_bytes() == before
        make(OWN, runs)

    trees = st.one_of(altered(RESULT), altered([RESULT, RESULT | {"value": 1}]))
    fuzz_some(st.tuples(trees, st.one_of(st.just([]), HARM)), holds)


def test_the_command_writes_its_files_or_nothing(
    filled: Path, tmp_path: Path, command: Any, fuzz_less: Fuzz
) -> None:
    def holds(case: tuple[str, list[tuple[str, Any]]]) -> None:
        name, harm = case
        runs, out = copied(filled, tmp_path / "runs"), tmp_path / "out"
        shutil.rmtree(out, ignore_errors=True)
        content = (runs / "raw_kl-0" / name).read_bytes()
        for how, what in harm:
            content = damaged(name, content, how, what)
        (runs / "raw_kl-0" / name).write_bytes(content)
        code, err = command(cli.main, "table=vgs/adaptive", f"runs=[{runs}]", f"out={out}")
        assert code in (0, 1)
        assert "Traceback" not in err
        assert len([*out.iterdir()] if out.exists() else []) == (0 if code else 4)

    fuzz_less(st.tuples(st.sampled_from(FILES), HARM), holds)
