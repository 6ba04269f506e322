"""What a served teacher is checked for before the first step."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from gndpo.engines.teacher_checks import check_reads, check_served
from gndpo.errors import UserError
from gndpo.models.load import load_processor
from gndpo.policy import Policy
from gndpo.prompts import Prompts
from gndpo.reads import dry_run
from gndpo.sources import ONLY, Source
from gndpo.teachers import sources
from tests.conftest import CONF
from tests.stand_in import StandIn

DOCUMENT = CONF.parent / "docs" / "served_teacher.md"


def check(teacher: Any, policies: dict[str, Policy], prompts: Prompts) -> dict[str, float]:
    source = Source({}, "image", None, {ONLY: teacher})
    return check_served(source, policies["student"], prompts, 100)


def test_how_far_the_server_is_from_the_checkpoint_here(
    served: Any,
    policies: dict[str, Policy],
    prompts: Prompts,
    caplog: pytest.LogCaptureFixture,
) -> None:
    teacher = served()
    assert check(teacher, policies, prompts) == {}
    teacher.reference = lambda: policies["teacher"]
    with caplog.at_level(logging.INFO, "gndpo"):
        found = check(teacher, policies, prompts)
    assert 0 < found["served_difference_max"] < 1e-5
    assert found["served_difference_mean"] <= found["served_difference_max"]
    assert 0.01 < found["served_difference_forbidden"] < 0.5
    assert "the served teacher is " in caplog.text


SPOILED = {
    "limit": (99, "reads at most 99 tokens, and data.max_prompt_tokens"),
    "scale": (0.0, "its weights are lost or were never trained"),
    "blind": (True, "says the same about a black image"),
}


@pytest.mark.parametrize("what", SPOILED)
def test_a_spoiled_server_is_refused(
    server: StandIn, served: Any, policies: dict[str, Policy], prompts: Prompts, what: str
) -> None:
    value, sentence = SPOILED[what]
    setattr(server, what, value)
    with pytest.raises(UserError, match=sentence):
        check(served(), policies, prompts)


def test_another_tokenizer_is_refused(
    server: StandIn,
    served: Any,
    policies: dict[str, Policy],
    prompts: Prompts,
    pair: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = load_processor(pair["teacher"])
    other.tokenizer.add_tokens(["four digits"])
    monkeypatch.setattr(server, "processor", other)
    with pytest.raises(UserError, match=r"where the student reads id \d+, 'four', it reads id"):
        check(served(), policies, prompts)


def test_logits_in_place_of_log_probabilities_are_refused(
    served: Any, policies: dict[str, Policy], prompts: Prompts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.Tensor, "log_softmax", lambda x, _: x)
    with pytest.raises(UserError, match="do not sum to 1; start it with --logprobs-mode"):
        check(served(), policies, prompts)


ADVANTAGES = sorted(
    str(file.relative_to(CONF / "advantage").with_suffix(""))
    for file in (CONF / "advantage").rglob("*.yaml")
)


@pytest.mark.parametrize("advantage", ADVANTAGES)
def test_the_document_names_the_advantages_that_work(
    advantage: str, served: Any, policies: dict[str, Policy], strategies: Any
) -> None:
    """The others are refused in a sentence that names the view."""
    source = Source({}, "image", None, {ONLY: served(likeliest=64)})
    views = sources(Source.of(policies["student"]), source)
    reads = dry_run(strategies(advantage), 80)
    works = f"`{advantage}`" in DOCUMENT.read_text().partition("do not work")[0]
    if works:
        check_reads(reads, views, advantage)
    else:
        with pytest.raises(
            UserError, match=rf"advantage={advantage} reads '[a-z_ ]+' of the teach"
        ):
            check_reads(reads, views, advantage)


def test_more_ids_than_the_server_names(
    served: Any, policies: dict[str, Policy], strategies: Any
) -> None:
    views = sources(
        Source.of(policies["student"]), Source({}, "image", None, {ONLY: served(likeliest=20)})
    )
    with pytest.raises(UserError, match=r"reads the 64 likeliest ids .*service.likeliest=20"):
        check_reads(dry_run(strategies("tropd/formula"), 80), views, "tropd/formula")
