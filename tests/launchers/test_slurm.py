"""What SLURM would be asked for; sbatch itself is not there."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import submitit
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from gndpo.build import config_folder

OF_SUBMITIT = ("timeout_min", "cpus_per_task", "gpus_per_node", "tasks_per_node", "mem_gb")
OURS = ("partition", "signal_delay_s", "array_parallelism", "additional_parameters", "gres")


@pytest.fixture
def hydra_in_conf() -> Iterator[None]:
    GlobalHydra.instance().clear()
    with initialize_config_dir(config_folder(), version_base="1.3"):
        yield


@pytest.fixture
def script(hydra_in_conf: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """script("hydra.launcher.partition=gpu"): the lines of the batch file that submitit writes."""
    (tmp_path / "srun").touch(mode=0o755)  # submitit asks whether there is one
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    def lines(*overrides: str) -> list[str]:
        cfg = compose("train", ["hydra/launcher=slurm", *overrides], return_hydra_config=True)
        launcher = OmegaConf.to_container(cfg.hydra.launcher)
        executor = submitit.AutoExecutor(tmp_path, cluster="slurm")
        executor.update_parameters(
            **{name: launcher[name] for name in OF_SUBMITIT},
            **{f"slurm_{name}": launcher[name] for name in OURS},
        )
        text: str = executor._executor._make_submission_file_text("command", "uid")
        return text.splitlines()

    return lines


def test_a_job_asks_for_one_gpu_and_for_notice(script) -> None:
    lines = script("hydra.launcher.partition=gpu", "hydra.launcher.timeout_min=90")
    assert {
        "#SBATCH --partition=gpu",
        "#SBATCH --time=90",
        "#SBATCH --gpus-per-node=1",
        "#SBATCH --cpus-per-task=8",
        "#SBATCH --mem=64GB",
        "#SBATCH --ntasks-per-node=1",
        "#SBATCH --signal=USR2@300",
        "#SBATCH --requeue",
        "#SBATCH --open-mode=append",
    } <= set(lines)


def test_a_job_may_ask_for_a_share_of_a_gpu(script) -> None:
    lines = script("hydra.launcher.gpus_per_node=null", "hydra.launcher.gres=shard:1")
    assert "#SBATCH --gres=shard:1" in lines
    assert not any("gpus" in line for line in lines)


def test_what_the_launcher_is_given(hydra_in_conf: None) -> None:
    cfg = compose("train", ["hydra/launcher=slurm"], return_hydra_config=True)
    launcher = cfg.hydra.launcher
    assert launcher._target_.endswith("submitit_launcher.SlurmLauncher")
    assert launcher.max_num_timeout > 0  # a job at its limit queues again
    assert launcher.submitit_folder.endswith("/.submitit/%j")
