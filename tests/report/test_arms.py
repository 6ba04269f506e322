"""What counts as one arm, what it is called, and whether arms were alike."""

import pytest

from gndpo.report.arms import group, unintended
from gndpo.report.load import find_runs


@pytest.fixture
def runs_with(tmp_path, make_run):
    def build(*runs):
        for index, (strategy, seed, changes) in enumerate(runs):
            make_run(tmp_path / f"{index:02d}", strategy, seed, steps=12, **changes)
        return find_runs([tmp_path])

    return build


def overrides(*items):
    return {"overrides": list(items)}


def test_seeds_and_bookkeeping_make_no_arm(runs_with):
    arms = group(
        runs_with(
            ("gndpo", 0, overrides("advantage=gndpo", "seed=0", "sweep=a", "logger=none")),
            ("gndpo", 1, overrides("advantage=gndpo", "seed=1", "sweep=b", "hydra/launcher=x")),
            ("raw_kl", 0, overrides("seed=0", "+advantage=raw_kl")),
        )
    )
    assert [(arm.name, len(arm.runs)) for arm in arms] == [("gndpo", 2), ("raw_kl", 1)]


def test_arms_of_one_strategy_are_named_by_what_differs(runs_with):
    arms = group(
        runs_with(
            ("gndpo", 0, overrides("experiment=demo", "seed=0")),
            ("gndpo", 0, overrides("experiment=demo", "advantage.clamp=5", "seed=0")),
            ("gndpo", 0, overrides("experiment=demo", "steps=9", "+advantage.clamp=5")),
        )
    )
    assert [arm.name for arm in arms] == ["gndpo", "gndpo clamp=5", "gndpo clamp=5 steps=9"]


def method(name, *items):
    preset = f"methods/{name}"
    return {"experiment": preset, "overrides": [f"experiment={preset}", "budget=survey", *items]}


def test_a_method_is_an_arm_named_by_its_preset(runs_with):
    plain = {"experiment": None, "overrides": ["advantage=full_kl", "budget=survey"]}
    arms = group(
        runs_with(
            ("full_kl", 0, method("gkd", "seed=0")),
            ("full_kl", 1, method("gkd", "seed=1")),
            ("full_kl", 0, method("off_policy")),
            ("full_kl", 0, plain),
        )
    )
    assert [(arm.name, arm.strategy, len(arm.runs)) for arm in arms] == [
        ("methods/gkd", "full_kl", 2),
        ("methods/off_policy", "full_kl", 1),
        ("full_kl", "full_kl", 1),
    ]


def test_variants_of_a_method_are_named_by_what_differs(runs_with):
    arms = group(
        runs_with(
            ("full_kl", 0, method("gkd")),
            ("full_kl", 0, method("gkd", "advantage.direction=1")),
            ("raw_kl", 0, method("gkd", "advantage=raw_kl")),
        )
    )
    assert [arm.name for arm in arms] == [
        "methods/gkd advantage=full_kl",
        "methods/gkd advantage=full_kl direction=1",
        "methods/gkd advantage=raw_kl",
    ]


def test_a_repeated_seed_counts_once(runs_with):
    (arm,) = group(
        runs_with(
            ("gndpo", 0, {"started": "2026-01-01"}),
            ("gndpo", 0, {"started": "2026-01-02"}),
            ("gndpo", 0, {"started": "2026-01-03", "status": "failed"}),
        )
    )
    assert [run.info["started"] for run in arm.runs] == ["2026-01-02"]


def test_unfinished_runs_are_shown_while_no_other_is_there(runs_with):
    failed = {"status": "failed"}
    mixed, lost = group(
        runs_with(
            *[("gndpo", 0, {}), ("gndpo", 1, failed)],
            *[("raw_kl", 0, failed), ("raw_kl", 1, failed)],
        )
    )
    assert [run.seed for run in mixed.shown] == [0]
    assert [run.seed for run in lost.shown] == [0, 1]


def test_settings_that_differ_beside_strategy_and_seed_are_named(runs_with):
    config = "seed: {0}\ndata: {{seed: {0}}}\nadvantage: {{clamp: {1}}}\noptimizer: {{lr: {2}}}\n"
    runs = runs_with(
        ("gndpo", 0, {"config": config.format(0, 5, 0.1)}),
        ("raw_kl", 1, {"config": config.format(1, "null", 0.1)}),
        ("raw_kl", 2, {"config": config.format(2, "null", 0.2) + "extra: 1\n"}),
    )
    assert unintended(runs[:2]) == {}
    assert unintended(runs) == {"extra": ["1", "absent"], "optimizer.lr": ["0.1", "0.2"]}


def test_methods_may_differ_in_what_makes_them_and_in_nothing_else(runs_with):
    config = "rollout: {{writer: {0}}}\nteacher: {{name: {0}}}\nsteps: {1}\n"
    runs = runs_with(
        ("full_kl", 0, method("gkd") | {"config": config.format("mixed", 60)}),
        ("full_kl", 0, method("off_policy") | {"config": config.format("data", 60)}),
        ("raw_kl", 0, {"config": config.format("student", 60)}),
        ("gndpo", 0, {"config": config.format("teacher", 60)}),
        ("full_kl", 1, method("off_policy") | {"config": config.format("data", 3)}),
    )
    assert unintended(runs[:3]) == {}
    assert unintended(runs[:4]).keys() == {"rollout.writer", "teacher.name"}
    assert unintended(runs[:4])["rollout.writer"] == ["student", "teacher"]
    assert unintended([*runs[:3], runs[4]]) == {"steps": ["3", "60"]}
