"""What is missing, and the commands for it: each composes, none is listed that is done."""

import shlex

import pytest

from gndpo.arguments import quoted
from gndpo.folders import config_folder
from gndpo.report.load import find_runs
from gndpo.tables.definition import Column, names
from gndpo.tables.measured import fill
from gndpo.tables.tasks import folder_of, tasks
from tests.tables.conftest import evaluation, write_rows, write_run

SEVEN = ["mmmu_pro", "logicvista", "mathverse_vision_dominant", "mathverse_vision_only"]
SEVEN += ["visualpuzzles", "mathvision", "vlmsareblind"]


def eight(name: str) -> int:
    return 8


def todo(table, name, folder=None, seeds=(0, 1)):
    one = table(name)
    runs = find_runs([folder]) if folder else []
    return tasks(one, fill(one, runs), seeds, eight)


@pytest.mark.parametrize("name", names())
def test_every_command_composes(table, composed, name) -> None:
    """A sweep's values one by one; what a shell would split stays whole."""
    trains = set()
    for task in todo(table, name):
        program, *arguments = shlex.split(task.command, comments=True) or [None]
        if program is None:
            assert task.kind == "import"
            continue
        assert arguments.pop(0) == "-m"
        if task.kind == "train":
            cfg = composed("train", *[x for x in arguments if not x.startswith("seed=")])
            trains.add(task.row)
            assert cfg.steps > 0
            assert f"seed={','.join(map(str, task.seeds))}" in arguments
        else:
            swept = next(x for x in arguments if x.startswith("benchmark="))
            assert swept.removeprefix("benchmark=").split(",") == list(task.benchmarks)
            rest = [x for x in quoted(arguments) if x != swept]
            cfg = composed("evaluate", f"benchmark={task.benchmarks[0]}", *rest)
            assert cfg.run.startswith("runs/")
            assert (cfg.device, cfg.batch) == ("cuda", 8)
    assert trains == {key for key, row in table(name).rows.items() if row.trained}


@pytest.mark.parametrize("name", ["vgs/main", "tropd/multi_domain"])
def test_folders_are_those_that_hydra_will_make(table, name) -> None:
    """runs/<sweep>/<overrides>, as conf/output/train.yaml has it."""
    from hydra import compose, initialize_config_dir

    from gndpo.arguments import folder_name

    one = table(name)
    with initialize_config_dir(config_folder(), version_base="1.3"):
        for row in one.rows.values():
            if row.trained:
                given = [*row.overrides, "seed=1", f"sweep={one.sweep}"]
                hydra = compose("train", given, return_hydra_config=True).hydra
                folder = folder_name(hydra.job.override_dirname)
                assert folder_of(one, row, 1) == f"{hydra.sweep.dir}/{folder}"


def test_only_what_is_missing_is_listed(table, adaptive) -> None:
    """The fixture has all runs but seed 1 of the last row, and one benchmark of seven."""
    left = todo(table, "vgs/adaptive", adaptive)
    trains = [task for task in left if task.kind == "train"]
    assert [(task.row, task.seeds) for task in trains] == [("adaptive", (1,))]
    assert left[0] is trains[0]
    measured = {(task.row, task.seeds): task for task in left if task.kind == "eval"}
    assert len(measured) == 6
    assert list(measured["standard", (0,)].benchmarks) == SEVEN[1:]
    assert f"run={adaptive}/full_kl-0 " in measured["standard", (0,)].command
    assert list(measured["adaptive", (1,)].benchmarks) == SEVEN
    for folder in adaptive.iterdir():
        write_rows(folder / "evaluations.jsonl", [evaluation(name, 1, acc_1=0.5) for name in SEVEN])
    assert [task.row for task in todo(table, "vgs/adaptive", adaptive, seeds=(0,))] == []


def test_greedy_and_samples_of_a_benchmark_are_one_command(table) -> None:
    own = [task for task in todo(table, "vgs/main") if task.row == "vgs_2b"]
    assert [task.kind for task in own] == ["train", "eval", "eval"]
    assert list(own[1].benchmarks) == SEVEN


def test_models_that_are_not_trained_are_measured_once_in_the_first_arms_run(table) -> None:
    own = [task for task in todo(table, "vgs/main") if task.row in ("start_4b", "teacher")]
    folders = [shlex.split(task.command)[2] for task in own]
    assert folders == [
        "run=runs/vgs/advantage=full_kl,experiment=vgs-qwen3_vl_2b,seed=0",
        "run=runs/vgs/advantage=full_kl,experiment=vgs-qwen3_vl_4b,seed=0",
    ]
    assert ["checkpoint=teacher" in own[0].command, "checkpoint=base" in own[1].command] == [
        True
    ] * 2


def test_other_harnesses_are_named_with_the_three_steps(table) -> None:
    left = [task for task in todo(table, "tropd/single_domain") if task.kind == "import"]
    assert {task.row for task in left} == {
        *("start", "opd", "eopd", "entropy", "reopold_2", "reopold", "tropd", "aopd")
    }
    command = next(task.command for task in left if task.row == "opd")
    assert command.startswith("# livecodebench_v6, pass@1: gndpo-export run=runs/tropd/")
    assert command.endswith("results=livecodebench_v6.json")


def test_a_runs_own_test_rows_need_no_command(table, tmp_path) -> None:
    assert Column("test", "acc_1", "").external is False
    write_run(tmp_path / "a", "gndpo/internvl3_5_1b", "advantage=gndpo")
    own = [task for task in todo(table, "gndpo/main", tmp_path) if task.row == "gndpo_1b"]
    assert not any("test" in task.benchmarks for task in own)
    assert "++benchmark.k=0" in own[-1].command


def test_a_table_without_an_arm_for_a_start_says_nothing_of_it(table) -> None:
    assert not [task for task in todo(table, "tropd/math") if task.row == "jsd"]
