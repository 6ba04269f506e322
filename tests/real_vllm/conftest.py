"""A real vLLM in an environment of its own (environment.sh), told to start as fast as it can."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from twins import BUILD
from twins.recipe import Size

from gndpo.data.rows import Row
from gndpo.models.load import load_model, load_processor
from gndpo.models.vocabulary import Vocabulary
from gndpo.policy import Policy
from gndpo.prompts import make_prompts
from gndpo.rng import uniform
from gndpo.rollout import Answers
from gndpo.sources import Source
from gndpo.writers import Desk

ARGUMENTS = "--enforce-eager --max-model-len 512 --distributed-executor-backend uni"
ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # a process less
    "TORCH_COMPILE_DISABLE": "1",
}
PYTHON = "GNDPO_VLLM_PYTHON"


@pytest.fixture(scope="session")
def python() -> Iterator[str]:
    """The interpreter of vLLM's environment; servers started meanwhile are quick ones."""
    given = os.environ.get(PYTHON, ".venv-vllm/bin/python")
    found = shutil.which(given)
    assert found, (
        f"{given}: no Python; bash tests/real_vllm/environment.sh builds it, or {PYTHON}=<it>"
    )
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**ENVIRONMENT, PYTHON: str(Path(found).absolute())}.items():
            patch.setenv(name, value)
        yield os.environ[PYTHON]


Checkpoint = Callable[[str, int], Path]


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """checkpoint(family, seed): a tiny one in its true format. Attention on CPUs takes heads whose
    width is a multiple of 32."""

    def write(family: str, seed: int) -> Path:
        folder = tmp_path_factory.mktemp(family) / "checkpoint"
        recipe = BUILD[family](Size(layers=2, hidden=64))
        recipe.config.get_text_config().head_dim = 32
        recipe.write(folder, seed=seed, dtype=torch.float32, initializer_range=0.2)
        return folder

    return write


def desk_of(folder: Path, rows: list[Row], **changes: object) -> Desk:
    """A student's desk at step 0: two answers of at most eight tokens to every row."""
    processor, model = load_processor(folder), load_model(folder)
    student = Source.of(Policy(model, Vocabulary.of(processor, model, None)))
    values = {
        "group": 2,
        "max_tokens": 8,
        "place_P": range(len(rows)),
        "draws": lambda stream, rows, columns: torch.from_numpy(
            uniform(0, stream, 0, rows, columns)
        ),
        "step": 0,
        "steps": 10,
    }
    prompts = make_prompts(rows, processor)
    return Desk(prompts, student, student, processor, **{**values, **changes})  # type: ignore[arg-type]


@torch.no_grad()
def gap(desk: Desk, answers: Answers) -> float:
    """The largest |log behaviour - log student| over the answers' tokens, nats."""
    policy, rendering = desk.student.policy, desk.prompts.renderings["image"]
    logp_NV = policy.head.log_probs(policy.hidden(rendering, answers.ids_BT)[answers.mask_BT])
    own_N = logp_NV.gather(-1, answers.ids_BT[answers.mask_BT][:, None])[:, 0]
    return float((own_N - answers.logp_BT[answers.mask_BT]).abs().max())
