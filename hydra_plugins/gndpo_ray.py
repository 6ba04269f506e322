"""Jobs of a sweep as tasks of Ray: `hydra/launcher=ray`. hydra-ray-launcher 1.2.2 needs
cloudpickle < 3, which joblib 1.6 refuses, and brings along what starts machines at AWS."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, configure_log, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from gndpo.errors import UserError


class RayLauncher(Launcher):
    """init: of ray.init. remote: what a job takes, of ray.remote."""

    def __init__(self, init: DictConfig, remote: DictConfig) -> None:
        self.init: Any = OmegaConf.to_container(init, resolve=True)
        self.remote: Any = OmegaConf.to_container(remote, resolve=True)

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        self.context, self.task, self.config = hydra_context, task_function, config

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """All at once: Ray starts as many as there is room for."""
        import ray

        numbered = list(enumerate(job_overrides, initial_job_idx))
        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        state = Singleton.get_state()
        own = {name: x for name, x in os.environ.items() if name.startswith("GNDPO_")}
        run = ray.remote(**self.remote)(work)
        with ray.init(**self.init):
            sweep = ray.put(Sweep(self.context, self.config, self.task, state, os.getcwd(), own))
            jobs = [run.remote(sweep, list(overrides), n) for n, overrides in numbered]
            return [outcome(job, n) for (n, _), job in zip(numbered, jobs, strict=True)]


@dataclass(frozen=True)
class Sweep:
    """What all jobs share. folder: where the sweep was started; environment: what is ours of it."""

    context: HydraContext
    config: DictConfig
    task: TaskFunction
    state: dict[Any, Any]
    folder: str
    environment: Mapping[str, str]


def work(sweep: Sweep, overrides: list[str], number: int) -> JobReturn:
    """One job, in a worker on any machine that sees the folder."""
    os.environ.update(sweep.environment)
    os.chdir(sweep.folder)
    setup_globals()
    Singleton.set_state(sweep.state)
    config = sweep.context.config_loader.load_sweep_config(sweep.config, overrides)
    with open_dict(config):
        config.hydra.job.id = config.hydra.job.num = number
    return run_job(
        hydra_context=sweep.context,
        task_function=sweep.task,
        config=config,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
    )


def outcome(job: Any, number: int) -> JobReturn:
    """What a job returned; one whose process died has failed, and stops no other."""
    import ray

    try:
        result: JobReturn = ray.get(job)
    except ray.exceptions.RayError as error:
        failure = UserError(
            f"job {number} died with its process ({type(error).__name__}); "
            "start the sweep again to continue it"
        )
        return JobReturn(status=JobStatus.FAILED, _return_value=failure)
    return result
