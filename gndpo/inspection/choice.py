"""Which strategies are asked for, and which of them can run on a model."""

from collections.abc import Mapping, Sequence

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import MissingConfigException
from omegaconf import DictConfig

from gndpo.build import build_advantage, resolve
from gndpo.errors import UserError
from gndpo.inspection.signals import Strategies
from gndpo.reads import dry_run
from gndpo.signal import Strategy

GROUP = "advantage"
WRITTEN = {"student", "teacher"}
"""Views of the prompt as it is."""


def options() -> list[str]:
    """Every option of the group, those of folders below it left out."""
    return list(GlobalHydra.instance().config_loader().get_group_options(GROUP))


def composed(names: Sequence[str]) -> dict[str, DictConfig]:
    """The options' own configurations, by name."""
    places = {name: f"{GROUP}_{i}" for i, name in enumerate(names)}
    try:
        cfg = compose(overrides=[f"+{GROUP}@{place}={name}" for name, place in places.items()])
    except MissingConfigException as error:
        raise UserError(
            f"strategies: there is no {error.missing_cfg_file}; "
            f"choose from {', '.join(options())}, or all"
        ) from error
    return {name: cfg[place] for name, place in places.items()}


def able(section: DictConfig, vocabulary: int, *, sees: bool) -> Strategy:
    """The strategy; a sentence, if it cannot run."""
    resolve(section)
    strategy = build_advantage(section)
    unseen = sorted({*dry_run(strategy, vocabulary).requests} - WRITTEN)
    if unseen and not sees:
        raise UserError(
            f"it reads what the image adds ({', '.join(unseen)}), and the student only reads text"
        )
    return strategy


def choose(
    asked: str | Sequence[str],
    own: str,
    knobs: DictConfig,
    vocabulary: int,
    *,
    sees: bool,
) -> tuple[Strategies, Mapping[str, str]]:
    """Those that run, `own` with the knobs given, and why others do not: only where all were asked
    for, else they are refused."""
    everything = asked == "all"
    listed = [asked] if isinstance(asked, str) else asked
    names = dict.fromkeys([own, *options()] if everything else listed)
    sections = {**composed([name for name in names if name != own]), own: knobs}
    found: dict[str, Strategy] = {}
    left_out: dict[str, str] = {}
    for name in names:
        try:
            found[name] = able(sections[name], vocabulary, sees=sees)
        except UserError as error:
            if not everything:
                raise UserError(f"strategies: {name} cannot run here: {error}") from error
            left_out[name] = str(error)
    return Strategies(found, own, sees), left_out
