"""Tiny checkpoints, and a server that answers from the teacher's."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from PIL import Image

from gndpo.build import build_advantage
from gndpo.data.digits import KINDS
from gndpo.data.rows import Row
from gndpo.engines.teacher import ServedTeacher, Service
from gndpo.models.load import load_model, load_processor
from gndpo.models.vocabulary import Vocabulary
from gndpo.policy import Policy
from gndpo.prompts import Prompts, make_prompts
from gndpo.signal import Strategy
from tests.conftest import CONF
from tests.runs.conftest import command, pair, run, small  # noqa: F401
from tests.stand_in import StandIn, serving

CONTEXT = "{problem} {answer}"


@pytest.fixture(scope="session")
def started(pair: dict[str, Path]) -> Iterator[StandIn]:  # noqa: F811
    with serving(pair["teacher"]) as server:
        yield server


@pytest.fixture
def server(started: StandIn) -> StandIn:
    """As if just started."""
    started.reset()
    return started


@pytest.fixture(scope="session")
def policies(pair: dict[str, Path]) -> dict[str, Policy]:  # noqa: F811
    """Student and teacher here."""
    made = {}
    for name, folder in pair.items():
        model = load_model(folder)
        made[name] = Policy(model, Vocabulary.of(load_processor(folder), model, None))
    return made


@pytest.fixture
def served(server: StandIn, policies: dict[str, Policy]) -> Any:
    """served(likeliest=5): a client of the server that gives up after a moment."""

    def make(**changes: Any) -> ServedTeacher:
        values = {"inflight": 4, "likeliest": server.vocabulary, "retries": 3, "pause": 0.001}
        service = Service(**{**values, "timeout": 20.0, "compare": None, **changes})
        return ServedTeacher(server.url, service, policies["student"].vocabulary)

    return make


def row(i: int, images: int = 1) -> Row:
    """A question in the tokenizer's words, with a noisy image or without one."""
    return {
        "name": f"row {i}",
        "images": [Image.effect_noise((32, 32), 60 + i).convert("RGB")] * images,
        "problem": [kind.problem for kind in KINDS.values()][i],
        "answer": str(i),
        "choices": [],
        "solution": "",
        "kind": "even" if i % 2 == 0 else "odd",
        "fields": {},
    }


@pytest.fixture
def prompts(pair: dict[str, Path]) -> Prompts:  # noqa: F811
    """Two questions about images and one without."""
    rows = [row(0), row(1), row(2, images=0)]
    return make_prompts(rows, load_processor(pair["student"]), context=CONTEXT)


@pytest.fixture
def strategies() -> Callable[[str], Strategy]:
    """strategies("tropd/mask"): as a command composes it."""

    def make(name: str) -> Strategy:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return build_advantage(compose("train", [f"advantage={name}"]).advantage)

    return make
