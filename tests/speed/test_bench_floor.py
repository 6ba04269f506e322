"""The benchmark's arithmetic: FLOPs against those that torch counts, and numbers by hand."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import pairs
from benchmarks.cases import CASES, CENTRE, TINY, Case
from benchmarks.floor import Work, of_case, work
from gndpo.models.load import load_model, load_processor

SHORT = replace(TINY, prompt=64)


def inputs(case: Case, folder: Path) -> dict[str, torch.Tensor]:
    processor = load_processor(folder / "student")
    shape = (pairs.side(case), pairs.side(case))
    digits = case.prompt - pairs.prompt_tokens(processor, "0", shape) + 1
    return processor.encode(processor.chat("7" * digits, 1), [pairs.picture(0, shape)])


@pytest.mark.parametrize("family", pairs.IMAGES)
def test_flops_of_a_forward_are_those_that_torch_counts(family: str, tmp_path: Path) -> None:
    case = replace(SHORT, family=family)
    pairs.write(case, tmp_path, steps=1)
    model = load_model(tmp_path / "student", attention="eager")
    given = inputs(case, tmp_path)
    L = given["input_ids"].shape[1]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(**given, use_cache=False)
    sizes = of_case(case, "student")
    formula = sizes.images(1) + sizes.reads(L, pairs=L * L) + 2 * L * sizes.head
    assert case.prompt == L
    # The token that a tower adds is no patch: the formula embeds it all the same.
    assert formula == pytest.approx(counter.get_total_flops(), rel=5e-3)
    with FlopCounterMode(display=False) as both:
        model(**given, use_cache=False).logits.sum().backward()
    assert both.get_total_flops() == pytest.approx(3 * formula, rel=0.05)


def test_a_shared_prompt_saves_what_the_formula_says() -> None:
    assert CENTRE.shared == pytest.approx(8 * (260 + 32) / (260 + 8 * 32))
    assert replace(CENTRE, group=1).shared == 1
    together, apart = replace(TINY, group=8, prompts=1), replace(TINY, group=1, prompts=8)
    student, teacher = (of_case(TINY, which) for which in ("student", "teacher"))
    once, often = (work(case, student, teacher) for case in (together, apart))
    assert often["score"].flops - once["score"].flops == 7 * (
        teacher.images(1) + teacher.reads(260, pairs=260 * 261 // 2)
    )


def test_the_update_is_three_forwards_and_the_teachers_head() -> None:
    student, teacher = (of_case(TINY, which) for which in ("student", "teacher"))
    found = work(TINY, student, teacher)
    heads = 2 * 8 * 32 * 1024 * 128  # FLOPs for B T rows, V ids, the teacher's width
    assert found["update"].flops == 3 * found["rollout"].flops + heads


def test_a_phase_lasts_as_long_as_its_slower_half() -> None:
    assert Work(flops=6, bytes=2).seconds(rate=3, bandwidth=4) == 2
    assert Work(flops=6, bytes=20).seconds(rate=3, bandwidth=4) == 5


def test_every_case_stands_once() -> None:
    names = [case.name for case in CASES]
    assert len(names) == len(set(names))
    assert {case.group for case in CASES} == {1, 4, 8, 16}
    assert {case.family for case in CASES} == {*pairs.IMAGES}
