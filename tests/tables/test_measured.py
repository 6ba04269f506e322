"""Which run fills which row."""

from gndpo.report.load import find_runs
from gndpo.tables.measured import fill
from tests.tables.conftest import write_run

R1 = "tropd/r1_distill_1_5b"


def test_a_run_fills_the_row_that_has_most_of_its_overrides(table, tmp_path) -> None:
    """With rollout=prefix it is TrOPD, without FKL Outlier."""
    write_run(tmp_path / "a", R1, "advantage=tropd/release")
    write_run(tmp_path / "b", R1, "rollout=prefix", "advantage=tropd/release")
    one = table("tropd/math")
    filled = fill(one, find_runs([tmp_path]))
    assert filled["outlier"].runs[0].folder.name == "a"
    assert filled["tropd"].runs[0].folder.name == "b"
    assert filled["tropd"].remarks == ()
    assert not filled["opd"].runs


def test_overrides_of_its_own_are_named_unless_they_change_nothing(table, tmp_path) -> None:
    same = ("eval.test=9", "updates.chunk=64", "rollout.micro=1", "trainer=cpu", "++logger=none")
    write_run(tmp_path / "a", R1, "advantage=raw_kl", *same)
    write_run(tmp_path / "b", R1, "advantage=eopd", "steps=9", "model.adapter={r:8}")
    write_run(tmp_path / "c", R1, "advantage=eopd", "steps=9", "model.adapter={r:8}", seed=1)
    filled = fill(table("tropd/single_domain"), find_runs([tmp_path]))
    assert filled["opd"].remarks == ()
    assert sorted(filled["eopd"].runs) == [0, 1]
    (remark,) = filled["eopd"].remarks
    assert (
        remark == "EOPD: its runs also have model.adapter={r:8} steps=9, which the preset has not"
    )


def test_runs_that_differ_are_never_averaged(table, tmp_path) -> None:
    write_run(tmp_path / "a", R1, "advantage=raw_kl", "steps=9")
    write_run(tmp_path / "b", R1, "advantage=raw_kl", "steps=8", seed=1)
    one = table("tropd/math")
    filled = fill(one, find_runs([tmp_path]))["opd"]
    assert not filled.runs
    assert filled.remarks == ("OPD: left out, its runs differ: steps=9, steps=8",)
    write_run(tmp_path / "c", R1, "advantage=raw_kl")
    filled = fill(one, find_runs([tmp_path]))["opd"]  # the preset itself comes first
    assert filled.runs[0].folder.name == "c"
    assert filled.remarks == ()


def test_unfinished_runs_and_other_presets_fill_nothing(table, tmp_path) -> None:
    write_run(tmp_path / "a", R1, "advantage=raw_kl", status="failed")
    write_run(tmp_path / "b", f"{R1}_multi", "advantage=raw_kl")
    filled = fill(table("tropd/math"), find_runs([tmp_path]))
    assert not filled["opd"].runs
    assert filled["start"].runs[0].folder.name == "a"  # its start is that of the preset


def test_a_model_that_is_not_trained_is_that_of_the_pair(table, tmp_path) -> None:
    """Stand-ins for unreleased models count where the table names them."""
    pair = ("model.pair.student=Qwen/Qwen3-1.7B", "model.pair.teacher=Qwen/Qwen3-4B")
    write_run(tmp_path / "a", "tropd/qwen3_sft_1_7b", "advantage=raw_kl", *pair)
    filled = fill(table("tropd/multi_domain"), find_runs([tmp_path]))
    assert filled["start_b"].runs[0].folder.name == "a"
    assert filled["opd_b"].runs[0].folder.name == "a"
    assert filled["opd_b"].remarks == ()
    assert not filled["teacher_a"].runs
