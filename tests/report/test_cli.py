"""The command as users type it."""

import pytest

from gndpo.report.cli import main
from tests.durability.conftest import elsewhere

FIGURES = ["overview", "accuracy", "grad_norm", "kl", "advantage"]


def run(capsys, *arguments):
    main([str(argument) for argument in arguments])
    return capsys.readouterr().out


def test_a_sweep_becomes_tables_verdict_and_figures(sweep, capsys):
    out = run(capsys, sweep)
    written = {path.name for path in (sweep / "report").iterdir()}
    assert written == {"report.md", "report.csv", *(f"{name}.png" for name in FIGURES)}
    page = (sweep / "report" / "report.md").read_text()
    assert "| raw_kl | 2 of 3 |" in page
    assert page.index("| full_kl |") < page.index("| gndpo |") < page.index("| raw_kl |")
    for text in (out, page):
        assert "full_kl learned most" in text
        assert "raw_kl-2: failed at step 60 of 60, loss was not finite." in text
        assert "all runs have the same configuration" in text


def test_a_second_report_is_the_same_and_no_run(sweep, capsys):
    first = run(capsys, sweep)
    assert run(capsys, sweep) == first


def test_out_is_respected(sweep, tmp_path, capsys):
    out = run(capsys, sweep / "gndpo-0", sweep / "raw_kl-0", "--out", tmp_path / "x" / "y")
    assert (tmp_path / "x" / "y" / "overview.png").exists()
    assert not (sweep / "gndpo-0" / "report").exists()
    assert str(tmp_path / "x" / "y") in out


def test_runs_that_have_only_begun_give_dashes_and_no_figures(tmp_path, make_run, capsys):
    folder = make_run(tmp_path / "a", "gndpo", 0, status="running", step=0)
    for log in ("metrics.jsonl", "eval.jsonl"):
        (folder / log).unlink()
    out = run(capsys, tmp_path)
    assert "0 of 1" in out
    assert "interrupted at step 0 of 60" in out
    assert {path.name for path in (tmp_path / "report").iterdir()} == {"report.md", "report.csv"}


def test_a_run_is_running_while_its_process_is_there(tmp_path, make_run, capsys):
    here = {"pid": 7, "host": "node"}
    folder = make_run(tmp_path / "a", "gndpo", 0, status="running", step=30, **here)
    with elsewhere(folder):
        alive = run(capsys, tmp_path)
    gone = run(capsys, tmp_path)
    assert f"{folder}: running at step 30 of 60, at work: process 7 on node." in alive
    ended = "its process ended without a word; ckpt=last continues it"
    assert f"{folder}: interrupted at step 30 of 60, {ended}." in gone


def test_a_single_run_needs_no_comparison(tmp_path, make_run, capsys):
    make_run(tmp_path / "a", "gndpo", 0)
    out = run(capsys, tmp_path)
    assert "gndpo learned most" in out
    assert "Not shown to be better than the base student: gndpo" in out


def test_unlike_runs_are_called_unlike(tmp_path, make_run, capsys):
    make_run(tmp_path / "a", "gndpo", 0)
    make_run(tmp_path / "b", "raw_kl", 0, config="optimizer:\n  lr: 0.1\n")
    assert "Runs differ in more than the advantage and the seed: optimizer.lr (0.002, 0.1)" in run(
        capsys, tmp_path
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: folders"),
        (["--ouch", "."], "unrecognized arguments: --ouch"),
        (["/no/such/folder"], "/no/such/folder: no such folder"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_1(arguments, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    error = capsys.readouterr().err
    assert stopped.value.code == 1
    assert error.startswith("gndpo-report: ")
    assert error.count("\n") == 1
    assert message in error


def test_a_file_in_the_way_is_named(sweep, tmp_path, capsys):
    (tmp_path / "taken").write_text("")
    with pytest.raises(SystemExit):
        main([str(sweep), "--out", str(tmp_path / "taken")])
    assert "taken: is a file; name a folder with --out" in capsys.readouterr().err


def test_many_arms_are_ranked_in_one_figure_that_is_named_first(tmp_path, make_run, capsys):
    for index in range(11):
        name = f"methods/m{index:02d}"
        make_run(tmp_path / name, "gndpo", 0, experiment=name, overrides=[f"experiment={name}"])
    out = run(capsys, tmp_path)
    written = {path.name for path in (tmp_path / "report").iterdir()}
    assert written == {"ranking.png", "report.md", "report.csv"}
    assert out.rstrip().endswith("ranking.png, report.md, report.csv")
    assert "![ranking](ranking.png)" in (tmp_path / "report" / "report.md").read_text()
    assert "Presets of methods differ by design. Apart from that, the advantage and" in out


def test_ten_arms_keep_their_curves(tmp_path, make_run, capsys):
    for index in range(10):
        overrides = ["advantage=gndpo", f"advantage.clamp={index}"]
        make_run(tmp_path / str(index), "gndpo", 0, overrides=overrides)
    out = run(capsys, tmp_path)
    assert "report.md, report.csv, overview.png" in out
    assert not (tmp_path / "report" / "ranking.png").exists()


def test_two_settings_are_drawn_against_each_other(sweep, capsys):
    printed = run(capsys, sweep, "--grid", "advantage", "optimizer.lr")
    assert "grid.png" in printed
    assert (sweep / "report" / "grid.png").exists()
