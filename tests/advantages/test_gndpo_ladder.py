"""The ladder of GNDPO: each rung is what its name says, and the experiment climbs all of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from gndpo.build import build_advantage, config_folder

FOLDER = Path(config_folder())
OFF = {"clamp": None, "centre": False, "scale": False}
RUNGS = {
    "none": OFF,
    "clamp": OFF | {"clamp": 5.0},
    "centre": OFF | {"centre": True},
    "scale": OFF | {"scale": True},
    "whiten": {"clamp": None},
    "clamp_whiten_step": {},
    "clamp_whiten_group": {"scope": "group"},
    "clamp_whiten_sequence": {"scope": "sequence"},
    "clamp_whiten_running": {"scope": 0.9},
    "clamp_whiten_clamp": {"clamp_after": 5.0},
}


@pytest.fixture(autouse=True)
def hydra() -> Iterator[None]:
    with initialize_config_dir(str(FOLDER), version_base="1.3"):
        yield


def swept(value: str) -> list[str]:
    """What a sweep over advantage=value runs."""
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    (override,) = parser.parse_overrides([f"advantage={value}"])
    return list(override.sweep_string_iterator())


@pytest.mark.parametrize("rung", RUNGS)
def test_a_rung_is_gndpo_but_for_the_knobs_it_names(rung: str) -> None:
    section = compose("train", [f"advantage=gndpo_ladder/{rung}"]).advantage
    assert section == {**OmegaConf.load(FOLDER / "advantage" / "gndpo.yaml"), **RUNGS[rung]}
    assert build_advantage(section)


def test_the_experiment_sweeps_over_all_rungs() -> None:
    cfg = compose("train", ["experiment=gndpo_ladder"], return_hydra_config=True)
    assert cfg.hydra.mode.name == "MULTIRUN"
    assert cfg.hydra.sweeper.params.keys() == {"advantage"}
    names = swept(cfg.hydra.sweeper.params.advantage)
    assert names == [f"gndpo_ladder/{rung}" for rung in RUNGS]
    files = (FOLDER / "advantage" / "gndpo_ladder").glob("*.yaml")
    assert {file.stem for file in files} == RUNGS.keys()


def test_it_looks_where_the_size_of_a_step_matters() -> None:
    job = compose("train", ["experiment=gndpo_ladder", "advantage=gndpo_ladder/clamp"])
    assert job == compose("train", ["experiment=stress", "advantage=gndpo_ladder/clamp"])


def test_a_sweep_over_all_strategies_does_not_climb_the_ladder() -> None:
    strategies = {file.stem for file in (FOLDER / "advantage").glob("*.yaml")}
    assert set(swept("glob(*)")) == strategies
