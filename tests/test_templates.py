"""Chat templates that refuse, ignore or miss something, and tokenizers that end a prompt."""

import pytest
import torch
from twins.reading import noise

from gndpo.data.reader import replacement
from gndpo.errors import UserError
from gndpo.models.load import load_processor
from gndpo.models.pairs import check_ends
from gndpo.models.vocabulary import Vocabulary
from gndpo.prompts import make_prompts
from gndpo.startup import check_ids
from tests.models import conftest as models

families = models.families


def refused(call, *arguments, **options):
    with pytest.raises(UserError) as error:
        call(*arguments, **options)
    return str(error.value)


BROKEN = {
    "{{ raise_exception('System role not supported') }}": "System role not supported",
    "{{ messages[0].foo.bar }}": "'dict object' has no attribute 'foo'",
    "{% for %}": "Expected an expression, got 'end of statement block'",
    "{{ messages + 1 }}": 'can only concatenate list (not "int") to list',
    "{{ 1 / 0 }}": "division by zero",
}


@pytest.mark.parametrize("template", BROKEN)
@pytest.mark.parametrize("family", ["gemma3", "text"])
def test_a_template_that_cannot_be_filled_names_the_row(families, family, template):
    processor = families(family).processor(chat_template=template, system="Think.")
    row = models.row_of("Sum?", [], "mine/train/17")
    assert refused(make_prompts, [row], processor) == (
        f"row mine/train/17: the chat template cannot be filled ({BROKEN[template]}); check "
        "model.chat_template, model.template_arguments and model.system, since some templates "
        "take no system prompt"
    )


def test_a_tokenizer_without_a_template_names_the_row(families):
    processor = families("text").processor()
    processor.tokenizer.chat_template = None
    row = models.row_of("Sum?", [], "mine/train/17")
    assert "row mine/train/17: the chat template cannot be filled (Cannot use chat" in refused(
        make_prompts, [row], processor
    )


def test_what_the_template_or_the_image_processor_would_ignore_is_refused(families):
    assert refused(families("gemma3").processor, template_arguments={"enable_thinking": True}) == (
        "model.template_arguments: the chat template does not ask for 'enable_thinking'; leave it "
        "out"
    )
    sentence = refused(families("internvl").processor, image_arguments={"max_patch": 6})
    assert "model.image_arguments: the image processor does not know 'max_patch' (it kn" in sentence
    assert "max_patches" in sentence
    assert refused(families("text").processor, image_arguments={"max_patches": 6}).endswith(
        "(it knows nothing, the model only reads text)"
    )


def test_a_wrong_image_argument_names_the_row(families):
    processor = families("internvl").processor(image_arguments={"max_patches": "many"})
    row = models.row_of("Sum?", [noise()], "mine/train/17")
    sentence = refused(lambda: make_prompts([row], processor).renderings["image"])
    assert sentence.startswith("row mine/train/17: its prompt and images do not fit together")


@pytest.mark.parametrize("pictures", [0, 1])
def test_an_end_that_the_tokenizer_adds_is_not_part_of_the_prompt(families, pictures):
    processor, plain = families("llava").processor(), families("llava").processor()
    tokenizer = processor.tokenizer
    tokenizer.add_eos_token = True
    assert tokenizer("Sum?")["input_ids"][-1] == tokenizer.eos_token_id
    images = [noise()] * pictures
    chat = processor.chat("Sum?", pictures)
    ids = processor.encode(chat, images)["input_ids"][0].tolist()
    bare = plain.encode(chat, images)["input_ids"][0].tolist()
    assert ids[-3:] == bare[-3:]
    assert tokenizer.eos_token_id not in ids
    mask = processor.encode(chat, images)["attention_mask"]
    assert mask.shape[1] == len(ids)


CLOSING = {
    "internvl": "<|im_end|>\n",
    "gemma3": "<end_of_turn>\n",
    "llava": " ",
    "llava_next": "<|im_end|>\n",
    "text": "<｜end▁of▁sentence｜>",
    "text_qwen3": "<|im_end|>\n",
}


@pytest.mark.parametrize("family", CLOSING)
def test_what_the_template_writes_behind_an_answer(families, family):
    assert families(family).processor().closing == CLOSING[family]
    assert families(family).processor(chat_template="{{ messages[0].x.y }}").closing == ""
    assert families(family).processor(chat_template="{{ messages[0].role }}").closing == ""


def test_an_end_without_a_name_is_shown_by_its_id(families):
    processor = families("text").processor()
    ours, theirs = (Vocabulary(size=400, eos=(i,), pad=0, forbidden=()) for i in (5, 399))
    assert "and teacher (id 399)" in refused(check_ends, ours, theirs, processor)


def test_a_prompt_with_a_token_that_only_one_of_the_pair_knows_is_refused(families):
    family = families("text_qwen3")
    processor, rows = family.processor(), family.rows()
    prompts = make_prompts(rows, processor)
    largest = int(prompts.renderings["text"].ids_PL.max())
    check_ids(prompts, largest + 1, processor)
    token = processor.tokenizer.convert_ids_to_tokens(largest)
    assert refused(check_ids, prompts, largest, processor) == (
        f"row test/0: its prompt has {token!r}, id {largest}, and student and teacher share only "
        f"ids below {largest}; use a model.chat_template without it"
    )


def test_padding_may_be_an_id_that_only_one_knows(families):
    family = families("llava_next")
    prompts = make_prompts(family.rows(), family.processor())
    rendering = prompts.renderings["text"]
    valid = rendering.ids_PL[rendering.mask_PL]
    rendering.ids_PL.masked_fill_(~rendering.mask_PL, 10_000)
    check_ids(prompts, int(valid.max()) + 1, family.processor())


def test_pixels_stay_where_they_are_until_a_forward_takes_them(families):
    rendering = families("qwen3_vl").prompts().renderings["image"]
    moved = rendering.to(torch.device("meta"))
    assert {x.device.type for images in moved.images for x in images.values()} == {"cpu"}
    assert {x.device.type for x in moved.vision.values()} == {"meta"}
    assert {x.device.type for x in (moved.ids_PL, *moved.kinds.values())} == {"meta"}


def test_a_replacement_that_names_a_group_which_is_not_there_is_refused():
    sentence = refused(replacement, "a", "\\1")
    assert sentence.startswith("data.rows.replace: '\\\\1' cannot stand for a: invalid group")
    pattern, new = replacement("(a)b", "\\1")
    assert pattern.sub(new, "xab") == "xa"


def test_arguments_that_are_asked_for_pass(families):
    quiet = {"enable_thinking": False}
    path = families("text_qwen3").student
    assert load_processor(path, template_arguments=quiet).template_arguments == quiet
