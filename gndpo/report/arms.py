"""Runs become arms: what was compared with what, under which name, and whether that was fair."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from gndpo.report.load import Run

# What may differ between two runs of one arm, or says nothing about what was trained.
NOT_AN_ARM = {
    *("seed", "sweep", "name", "ckpt", "run", "output", "hydra"),
    *("logger", "callbacks", "cache_dir"),
}

# What a preset of a method changes on purpose.
METHOD = {"model", "reward", "rollout", "surrogate", "teacher", "updates"}

# What gives a run another student or another teacher.
MODELS = {"model", "teacher"}

# Keys below other roots that are the run's seed, or a place.
FOLLOWS_THE_RUN = {"data.seed", "model.pair.cache_dir"}


@dataclass(frozen=True)
class Arm:
    """All runs of one strategy, or of one method, with one set of overrides."""

    name: str
    strategy: str
    runs: tuple[Run, ...]

    @property
    def completed(self) -> list[Run]:
        return [run for run in self.runs if run.completed]

    @property
    def unfinished(self) -> list[Run]:
        return [run for run in self.runs if not run.completed]

    @property
    def shown(self) -> list[Run]:
        """The completed runs; all, while none is."""
        return self.completed or list(self.runs)


def group(runs: Sequence[Run]) -> list[Arm]:
    """Arms in order of appearance, named by strategy, or by preset where that is a method.

    Where one name has several arms, the overrides in which they differ are added to it.
    """
    by_title: dict[str, dict[frozenset[str], list[Run]]] = defaultdict(dict)
    for run in runs:
        by_title[run.method or run.strategy].setdefault(_identity(run), []).append(run)
    arms = []
    for title, variants in by_title.items():
        common = frozenset.intersection(*variants)
        for overrides, members in variants.items():
            name = " ".join([title, *sorted(_short(o) for o in overrides - common)])
            arms.append(Arm(name, members[0].strategy, tuple(_one_per_seed(members))))
    return arms


def models(run: Run) -> str:
    """The preset, and overrides of student and teacher: runs alike in them began alike."""
    return " ".join([run.experiment, *sorted(o for o in _typed(run) if _root(o) in MODELS)]).strip()


def _identity(run: Run) -> frozenset[str]:
    """The overrides that make this run what it is, seed and bookkeeping aside."""
    kept = {o for o in _typed(run) if _root(o) not in NOT_AN_ARM and _key(o) != "advantage"}
    return frozenset(kept | {f"advantage={run.strategy}"})


def _typed(run: Run) -> list[str]:
    return [str(override).lstrip("+~") for override in run.info.get("overrides") or []]


def _key(override: str) -> str:
    return override.partition("=")[0]


def _root(override: str) -> str:
    return _key(override).replace("/", ".").split(".")[0]


def _short(override: str) -> str:
    """`advantage.clamp=5` as `clamp=5`."""
    return override.removeprefix("advantage.")


def _one_per_seed(runs: Sequence[Run]) -> list[Run]:
    """A seed that was run again counts once: a completed run before another, then the latest."""
    best: dict[int, Run] = {}
    for run in sorted(runs, key=lambda run: (run.completed, str(run.info.get("started") or ""))):
        best[run.seed] = run
    return [best[seed] for seed in sorted(best)]


def unintended(runs: Sequence[Run]) -> dict[str, list[str]]:
    """Settings beside the strategy and the seed that are not the same in all runs: {key: values}.

    Empty is what a comparison should be. Runs without a stored configuration are left out, and
    methods where they differ on purpose; their budget, optimizer and data are compared.
    """
    known = [run for run in runs if run.config]
    keys = {key for run in known for key in run.config if compared(key)}
    values = {
        key: {
            str(run.config.get(key, "absent"))
            for run in known
            if not (run.method and _root(key) in METHOD)
        }
        for key in keys
    }
    return {key: sorted(found) for key, found in sorted(values.items()) if len(found) > 1}


def compared(key: str) -> bool:
    """Whether a configuration key should be the same in all runs of a comparison."""
    return _root(key) not in {"advantage", *NOT_AN_ARM} and key not in FOLLOWS_THE_RUN
