"""rollout=vllm without a vLLM: what is refused, and in which words."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from gndpo.data.rows import Row
from gndpo.engines import server
from gndpo.engines.server import free_port, opened
from gndpo.engines.vllm import Vllm
from gndpo.errors import UserError
from gndpo.models.load import load_model, load_processor
from gndpo.models.vocabulary import Vocabulary
from gndpo.policy import Policy
from gndpo.prompts import make_prompts
from gndpo.sources import Source
from gndpo.writers import Desk
from tests.runs.conftest import pair  # noqa: F401

LISTENER = Path(__file__).with_name("listener.py")


def writer_of(**changes: Any) -> Vllm:
    values = {"url": None, "python": sys.executable, "folder": None, "arguments": ""}
    return Vllm(**{**values, "start_s": 30.0, "answer_s": 30.0, **changes})


@pytest.fixture
def desk(pair: dict[str, Path]) -> Desk:  # noqa: F811
    def draws(stream: str, rows: Sequence[int], columns: int) -> torch.Tensor:
        return torch.zeros(len(rows), columns)

    processor, model = load_processor(pair["student"]), load_model(pair["student"])
    student = Source.of(Policy(model, Vocabulary.of(processor, model, None)))
    row = Row(
        name="a",
        images=[],
        problem="1 and 2?",
        answer="",
        choices=[],
        solution="",
        kind="",
        fields={},
    )
    prompts = make_prompts([row], processor)
    return Desk(prompts, student, student, processor, 2, 4, [0], draws, step=3, steps=9)


def test_an_interpreter_or_an_address_is_needed() -> None:
    with pytest.raises(UserError, match=r"rollout.writer.python=null: .*GNDPO_VLLM_PYTHON"):
        writer_of(python=None)


def test_an_interpreter_without_vllm_is_refused(desk: Desk, tmp_path: Path) -> None:
    writer = writer_of(arguments="--enforce-eager")
    with opened(writer, tmp_path / "engine"), pytest.raises(UserError, match="No module named"):
        writer(desk)


def test_a_server_of_others_that_is_gone_is_named(desk: Desk, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    writer = writer_of(url=url)
    with (
        opened(writer, tmp_path / "engine"),
        pytest.raises(UserError, match=rf"{url} is lost .* continue with ckpt=last"),
    ):
        writer(desk)


def test_a_server_that_keeps_its_calls_shut_is_refused(desk: Desk, tmp_path: Path) -> None:
    """The listener knows /health alone."""
    port = free_port()
    url, log = f"http://127.0.0.1:{port}", tmp_path / "server.log"
    process = server.start([sys.executable, str(LISTENER), str(port)], log, {})
    try:
        server.await_health(process, url, log, 30.0)
        writer = writer_of(url=url)
        with (
            opened(writer, tmp_path / "engine"),
            pytest.raises(
                UserError, match=r"refuses /collective_rpc .*needs VLLM_SERVER_DEV_MODE=1"
            ),
        ):
            writer(replace(desk, step=0))
    finally:
        server.end(process)
