"""Folders of sweeps on the command line, and what such folders are called."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from gndpo.arguments import LONGEST, folder_name, quoted


@pytest.mark.parametrize(
    "folder", ["runs/mine/advantage=gndpo,seed=0", "runs/a b/x", "runs/gamma={1},[2]"]
)
def test_a_folder_of_a_sweep_needs_no_quotes(folder):
    (argument,) = quoted([f"run={folder}"])
    assert OverridesParser.create().parse_override(argument).value() == folder


@pytest.mark.parametrize(
    "argument",
    ["run=runs/demo", "run='a=b'", 'to="a,b"', "seed=0,1", "advantage=gndpo,raw_kl", "-m", "run="],
)
def test_everything_else_stays(argument):
    assert quoted([argument]) == [argument]


def test_a_job_has_one_folder():
    assert (
        folder_name("advantage=gndpo_ladder/clamp,seed=0") == "advantage=gndpo_ladder-clamp,seed=0"
    )
    long = [folder_name(f"model.pair.student={'x' * 300},seed={seed}") for seed in range(2)]
    assert len({*long}) == 2
    assert {len(name) for name in long} == {LONGEST}
