"""Whatever is typed, a configuration is built or refused with one sentence."""

import copy
from collections.abc import Iterator
from functools import cache
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gndpo.build import build, resolve
from gndpo.checks import check_values
from gndpo.folders import config_folder
from gndpo.reads import dry_run
from gndpo.runfolder import config_hash
from gndpo.train import module_settings
from tests.fuzz.conftest import Fuzz, sentence_or

CHOICES = (
    (),
    ("advantage=gndpo", "surrogate=ppo", "optimizer=sgd", "rollout=mixed_data"),
    ("advantage=trust_region", "teacher=ema", "rollout=blend", "reward=by_kind"),
    ("advantage=mix", "teacher=periodic", "rollout=prefix", "reward=numeric"),
    ("data=local", "model=checkpoints", "advantage=topd", "surrogate=gspo"),
    ("data=geometry3k", "model=internvl3_5_1b", "advantage=entropy_opd", "reward=composite"),
    ("experiment=methods/gkd",),
)
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([2**31, 2**63, 2**70, -(2**63), 10**400]),
    st.floats(width=32),
    st.sampled_from(["", " ", "x", "0", "-1", "1e9", "null", "٣", "字", "‮abc", "\x00", "\ud800"]),
    st.sampled_from(["a.b", "../x", "/nowhere", "~", "[", "{x}", "{", "${x}", "${steps}", "???"]),
    st.text(max_size=8),
)
VALUES = st.recursive(
    ODD,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["a", "_target_", "_args_", "lr", "1"]), inner, max_size=2),
    ),
    max_leaves=4,
)


@cache
def composed(choice: tuple[str, ...]) -> dict[str, Any]:
    GlobalHydra.instance().clear()
    with initialize_config_dir(config_folder(), version_base="1.3"):
        cfg = compose("train", ["logger=none", "sweep=x", *choice])
    found: Any = OmegaConf.to_container(cfg)
    return found


def places(tree: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every key and every item, at any depth."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in items:
        yield (*here, key)
        if isinstance(value, dict | list):
            yield from places(value, (*here, key))


@st.composite
def altered(draw: Any, whole: Any) -> Any:
    """A tree of which one to three values are others, keys are gone, or new."""
    tree = copy.deepcopy(whole)
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.sampled_from(sorted(places(tree), key=str)))
        inside = tree
        for key in place[:-1]:
            inside = inside[key]
        kind = draw(st.sampled_from(["change"] * 6 + ["remove", "add"]))
        if kind == "remove":
            del inside[place[-1]]
        elif kind == "add" and isinstance(inside, dict):
            inside[draw(st.sampled_from(["typo", "_target_", "_partial_", "é", "lr"]))] = draw(ODD)
        else:
            inside[place[-1]] = draw(VALUES)
        if not tree:
            break
    return tree


def changed() -> st.SearchStrategy[dict[str, Any]]:
    return st.sampled_from(CHOICES).flatmap(lambda choice: altered(composed(choice)))


def start(cfg: DictConfig) -> None:
    """All that a run does before it loads a model."""
    resolve(cfg)
    config_hash(cfg)
    check_values(cfg)
    strategy = build(cfg.advantage, "advantage")
    module_settings(cfg)
    for where in ("surrogate.loss", "rollout.writer", "reward", "optimizer", "trainer"):
        build(OmegaConf.select(cfg, where), where)
    if cfg.teacher.follow is not None:
        build(cfg.teacher.follow, "teacher.follow")
    for name, section in cfg.callbacks.items():
        build(section, f"callbacks.{name}")
    build(cfg.data, "data")
    dry_run(strategy, 40)


def test_a_changed_configuration_is_built_or_refused(fuzz: Fuzz) -> None:
    def holds(tree: dict[str, Any]) -> None:
        try:
            cfg = OmegaConf.create(tree)
        except OmegaConfBaseException:  # Hydra's business: it cannot be composed
            return
        sentence_or(start, cfg)

    fuzz(changed(), holds)
