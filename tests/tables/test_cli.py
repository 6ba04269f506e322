"""gndpo-table as users type it."""

import subprocess
import sys

import pytest

from gndpo.tables import cli
from tests.tables.conftest import evaluation, write_rows, write_run


@pytest.fixture
def typed(command):
    """typed("table=vgs/main") -> (exit code, stderr)."""
    return lambda *arguments: command(cli.main, *arguments)


@pytest.fixture
def printed(monkeypatch, capsys):
    """printed("table=vgs/main"): what a successful call prints."""

    def call(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["gndpo-table", *arguments])
        capsys.readouterr()
        cli.main()
        return capsys.readouterr().out

    return call


def test_without_runs_the_paper_is_shown_and_every_command(printed) -> None:
    out = printed("table=vgs/adaptive")
    assert "Gamma by visual dependency, 2B (arXiv 2606.00564, table 5)" in out
    assert "46.53" in out
    assert "a: the mean of the printed cells is 43.72" in out
    assert "gndpo-train -m experiment=vgs/qwen3_vl_2b advantage=vgs/adaptive seed=0,1,2" in out
    assert out.count("gndpo-eval -m run=runs/vgs/") == 9


def test_runs_fill_it_and_the_four_files_are_written(printed, adaptive, tmp_path) -> None:
    out = printed("table=vgs/adaptive", f"runs=[{adaptive}]", f"out={tmp_path / 'new' / 'tables'}")
    assert "47.00 ± 12.71" in out
    files = {path.name for path in (tmp_path / "new" / "tables").iterdir()}
    assert files == {f"vgs-adaptive.{kind}" for kind in ("md", "tex", "csv", "html")}
    assert "| VGS |" in (tmp_path / "new" / "tables" / "vgs-adaptive.md").read_text()
    assert "Written to " in out


def test_formats_are_chosen(printed, tmp_path) -> None:
    printed("table=vgs/adaptive", f"out={tmp_path}/o", "format=[csv]")
    assert [path.name for path in (tmp_path / "o").iterdir()] == ["vgs-adaptive.csv"]


def test_commands_alone_are_lines_for_a_shell(printed, adaptive) -> None:
    lines = printed("table=vgs/adaptive", "plan=commands").splitlines()
    assert len(lines) == 12
    assert all(line.startswith(("gndpo-train -m ", "gndpo-eval -m ")) for line in lines)
    given = ("plan=commands", f"runs=[{adaptive}]", "seeds=[0,1]", "more=steps=9 trainer=cpu")
    left = printed("table=vgs/adaptive", *given).splitlines()
    arm = "experiment=vgs/qwen3_vl_2b advantage=vgs/adaptive steps=9 trainer=cpu"
    assert left[0] == f"gndpo-train -m {arm} seed=1 sweep=vgs"
    assert len([line for line in left if line.startswith("gndpo-train")]) == 1
    assert any(
        "run=runs/vgs/advantage=vgs-adaptive,experiment=vgs-qwen3_vl_2b,seed=1,steps=9,trainer=cpu "
        in line
        for line in left
    )


@pytest.mark.parametrize("how", ["--plan", "plan=true"])
def test_the_plan_has_hours_disk_and_what_it_assumes(printed, how) -> None:
    """Three rows, a seed each: the disk is 3 x 3 checkpoints (the last two, the
    best one) of 12 bytes per weight."""
    out = printed("table=vgs/adaptive", how, "seeds=[0]")
    assert "gndpo-train -m experiment=vgs/qwen3_vl_2b advantage=full_kl seed=0 sweep=vgs" in out
    (total,) = [line.split() for line in out.splitlines() if line.split()[:1] == ["sum"]]
    assert total[1] == "3"
    assert total[4] == f"{3 * 3 * 12 * 2.127532:.0f}"
    assert "Assumed, not measured: an A100 of 80 GB" in " ".join(out.split())
    assert (
        "More than 85 GB, so not on one such GPU as it stands: VGS (vgs/qwen3_vl_2b)"
        in " ".join(out.split())
    )


def test_nothing_is_missing_when_all_is_there(printed, tmp_path) -> None:
    names = ("mmmu_pro", "logicvista", "mathverse_vision_dominant", "mathverse_vision_only")
    names += ("visualpuzzles", "mathvision", "vlmsareblind")
    for strategy in ("full_kl", "decomposed", "vgs/adaptive"):
        folder = tmp_path / strategy.replace("/", "-")
        write_run(folder, "vgs/qwen3_vl_2b", f"advantage={strategy}")
        write_rows(folder / "evaluations.jsonl", [evaluation(x, 9, acc_1=0.5) for x in names])
    given = ("table=vgs/adaptive", f"runs=[{tmp_path}]", "seeds=[0]")
    assert "Missing cells" not in printed(*given)
    assert printed(*given, "plan=commands").strip() == ""


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "which table? type gndpo-table table=<name>; there are gndpo/ladder, gndpo/main,"),
        (["table=vgs/mian"], "table=vgs/mian: there is none; did you mean vgs/main? All: gndpo/"),
        (
            ["table=vgs/main", "runs=[/no/such]"],
            "/no/such: no such folder; name one that holds runs",
        ),
        (["table=vgs/main", "format=[pdf]"], "format=['pdf']: choose among md, tex, html, csv"),
        (["table=vgs/main", "seeds=3"], "seeds=3 must be a list of whole numbers"),
        (["table=vgs/main", "runs=runs/vgs"], "runs=runs/vgs must be a list of texts"),
        (["table=vgs/main", "format=md"], "format=md must be a list of texts"),
        (["table=vgs/main", "out=5"], "out=5 must be a text, or null"),
        (["table=vgs/main", "plan=yes_please"], "plan=yes_please: choose true, false or commands"),
    ],
)
def test_mistakes_are_one_sentence(typed, arguments, sentence) -> None:
    code, err = typed(*arguments)
    assert code == 1
    assert sum(sentence in line for line in err.splitlines()) == 1
    assert "Traceback" not in err


def test_a_folder_without_runs_and_a_file_in_the_way_are_named(typed, tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    code, err = typed("table=vgs/adaptive", f"runs=[{tmp_path}/empty]")
    assert code == 1
    assert "no run found, i.e. no folder with a run.json" in err
    (tmp_path / "file").write_text("")
    code, err = typed("table=vgs/adaptive", f"out={tmp_path}/file")
    assert code == 1
    assert "file: is a file; name a folder with out=" in err


def test_reading_folders_imports_no_torch() -> None:
    code = "import sys, gndpo.tables.cli; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


OWN = """
title: Mine
source: here
sweep: mine
published: null
panels: {own: {columns: {test/acc_1: own, geometry3k/acc_k: Geometry3K}}}
rows:
  start: {label: start, experiment: quickstart, checkpoint: base}
  raw: {label: raw, experiment: quickstart, arm: advantage=raw_kl}
  gndpo: {label: GNDPO, experiment: quickstart, arm: advantage=gndpo, against: raw}
"""


def test_a_table_of_ones_own_from_real_runs(run, command, printed, tmp_path, data) -> None:
    """gndpo-train and gndpo-eval on a tiny checkpoint; every number is that of their files."""
    from gndpo import evaluate

    (tmp_path / "conf" / "table" / "lab").mkdir(parents=True)
    (tmp_path / "conf" / "table" / "lab" / "mine.yaml").write_text(OWN)
    asked = ["benchmark=geometry3k", f"benchmark.rows.source={data}", "benchmark.max_tokens=5"]
    asked += ["benchmark.rows.template='{problem}'", "benchmark.k=3"]
    lines = {}
    for arm in ("raw_kl", "gndpo"):
        given = (f"advantage={arm}", "experiment=quickstart", "steps=1")
        done = run(*given, name=f"runs/{arm}")
        assert done.code == 0, done.err
        assert command(evaluate.main, f"run={done.folder}", *asked)[0] == 0
        (lines[arm],) = done.rows("evaluations.jsonl")
    out = tmp_path / "out"
    given = ("--config-dir", str(tmp_path / "conf"), "table=lab/mine", f"out={out}", "format=[csv]")
    text = printed(*given, f"runs=[{tmp_path}/runs]", "seeds=[0]")
    assert "GNDPO: its runs also have" in text
    cells = (out / "lab-mine.csv").read_text().splitlines()
    found = {tuple(line.split(",")[1:3]): line.split(",") for line in cells}
    own = [row for row in done.rows("eval.jsonl") if row["split"] == "test" and row["step"] == 1]
    assert float(found["GNDPO", "test"][5]) == pytest.approx(100 * own[0]["eval/acc_1"])
    for arm, label in (("raw_kl", "raw"), ("gndpo", "GNDPO")):
        measured = float(found[label, "geometry3k"][5])
        assert measured == pytest.approx(100 * lines[arm]["eval/acc_k"])
        assert found[label, "geometry3k"][4] == "5 of 601 questions"
    apart = 100 * (lines["gndpo"]["eval/acc_k"] - lines["raw_kl"]["eval/acc_k"])
    assert float(found["GNDPO", "geometry3k"][10]) == pytest.approx(apart)
    assert found["GNDPO", "geometry3k"][17] == "5"  # questions that both answered
    assert found["start", "geometry3k"][5] == ""
    assert "checkpoint=base benchmark=geometry3k" in text
