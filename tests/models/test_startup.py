"""What would spoil a run silently is refused before its first step."""

from dataclasses import replace

import pytest
import torch
from transformers import GraniteConfig, GraniteForCausalLM
from twins import VISION
from twins.reading import allowed

from gndpo.errors import UserError
from gndpo.policy import Policy
from gndpo.prompts import make_prompts
from gndpo.sources import ONLY, Source
from gndpo.startup import check_head, check_start


def start(family, student=None, teacher=None, processor=None, rows=None):
    student, teacher = student or family.policy(), teacher or family.policy("teacher")
    processor = processor or family.processor()
    prompts = make_prompts(rows or family.rows(), processor)
    check_start(prompts, student, Source({ONLY: teacher}, "image"), processor)


def test_every_family_passes(family):
    start(family)


def test_a_teacher_that_lost_its_head_is_refused(family):
    teacher = family.policy("teacher")
    with torch.no_grad():
        teacher.head.linear.weight.zero_()
    uniform = torch.tensor(float(allowed(teacher).sum())).log()
    with pytest.raises(UserError, match=rf"knowing\s+nothing is -{uniform:.2f}"):
        start(family, teacher=teacher)


def test_a_teacher_whose_weights_are_not_numbers_is_refused(families):
    family = families("text")
    teacher = family.policy("teacher")
    with torch.no_grad():
        teacher.head.linear.weight.fill_(torch.nan)
    with pytest.raises(UserError):
        start(family, teacher=teacher)


def test_a_placeholder_too_many_names_the_row(families):
    family = families("internvl")
    processor = family.processor()
    processor.own.image_seq_length += 1
    with pytest.raises(UserError, match=r"row test/0: its prompt has \d+ image placeholders"):
        start(family, processor=processor)


def test_a_teacher_that_does_not_see_is_refused(families):
    family = families("internvl")
    teacher = family.policy("teacher")
    with torch.no_grad():
        for parameter in teacher.backbone.multi_modal_projector.linear_2.parameters():
            parameter.zero_()
    with pytest.raises(UserError, match="the teacher says the same about a black image"):
        start(family, teacher=teacher)


def test_images_for_a_model_that_only_reads_name_the_row(families):
    pictures = families("internvl").rows()
    with pytest.raises(UserError, match="row test/0: the model only reads text"):
        start(families("text"), rows=pictures)


def test_a_family_that_scales_its_logits_is_refused(families):
    """Granite divides its logits by a constant of its configuration."""
    family = families("text")
    policy = family.policy()
    config = GraniteConfig(
        vocab_size=policy.head.linear.weight.shape[0],
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        logits_scaling=8.0,
        initializer_range=0.2,
    )
    granite = Policy(GraniteForCausalLM(config).double().eval(), policy.vocabulary)
    rendering = family.prompts().renderings["text"]
    check_head("teacher", policy, rendering)
    with pytest.raises(UserError, match="GraniteForCausalLM, whose logits are more"):
        check_head("teacher", granite, rendering)


def test_several_teachers_are_each_looked_at(families):
    family = families("internvl")
    lost = family.policy("teacher")
    with torch.no_grad():
        lost.head.linear.weight.zero_()
    rows = [row | {"kind": kind} for row, kind in zip(family.rows(), "aba", strict=True)]
    both = Source({"a": family.policy("teacher"), "b": lost}, "image", column="kind")
    prompts = make_prompts(rows, family.processor())
    with pytest.raises(UserError, match="the teacher b gives its own greedy answer"):
        check_start(prompts, family.policy(), both, family.processor())
    fine = replace(both, policies={"a": both.policies["a"], "b": both.policies["a"]})
    check_start(prompts, family.policy(), fine, family.processor())


@pytest.mark.parametrize("family", VISION, indirect=True)
def test_a_problem_that_spells_a_placeholder_names_the_row(family):
    """With an image and without: both would change how many features the model expects."""
    processor = family.processor()
    tokens = [token for token in processor.placeholders if token != "<image>"]
    assert tokens or family.name.startswith("llava")
    for token in tokens:
        for row in family.rows():
            with pytest.raises(UserError, match=r"row test/\d: the problem spells"):
                make_prompts([row | {"problem": f"a {token} b"}], processor)
