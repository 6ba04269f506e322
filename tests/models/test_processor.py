"""How a prompt is spelled: images at their markers, system prompt, chat template, one beginning."""

import pytest
from twins import FAMILIES, VISION
from twins.reading import noise

from gndpo.errors import UserError
from gndpo.models.digits import build_processor
from gndpo.models.load import load_processor
from gndpo.models.processor import Processor, content
from gndpo.prompts import chat_text, make_prompts
from tests.models import conftest as models

families = models.families
IMAGE = {"type": "image"}


def said(text):
    return {"type": "text", "text": text}


@pytest.mark.parametrize(
    ("text", "images", "parts"),
    [
        ("Sum?", 0, [said("Sum?")]),
        ("Sum?", 2, [IMAGE, IMAGE, said("Sum?")]),
        ("<image> Sum?", 1, [IMAGE, said(" Sum?")]),
        ("a <image> b <image>", 2, [said("a "), IMAGE, said(" b "), IMAGE]),
        ("<image>\n<image>\nSum?", 2, [IMAGE, IMAGE, said("\nSum?")]),
        ("a <image> b", 0, [said("a  b")]),  # the text view
        (" Sum? \n", 0, [said(" Sum? \n")]),
    ],
)
def test_images_stand_at_their_markers_or_in_front(text, images, parts):
    assert content(text, images) == parts


@pytest.mark.parametrize(
    ("text", "images", "found"),
    [
        ("<image> Sum?", 2, "1 times <image> and 2 images"),
        ("<image> <image> Sum?", 1, "2 times <image> and 1 image"),
    ],
)
def test_another_number_of_markers_than_images_is_refused_with_the_row(text, images, found):
    sentence = f"the problem has {found}: give one marker per image, or none"
    with pytest.raises(UserError) as error:
        content(text, images)
    assert str(error.value) == sentence
    row = models.row_of(text, [noise()] * images, "geometry/17")
    with pytest.raises(UserError) as error:
        chat_text(row, Processor(build_processor()), image=True)
    assert str(error.value) == f"row geometry/17: {sentence}"


CHATML = "<|im_start|>system\nThink.<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n"
CHATML += "<|im_start|>assistant\n"
SEEN = "<|vision_start|><|image_pad|><|vision_end|>"
GEMMA = "<bos><start_of_turn>user\nThink.\n\n{}<end_of_turn>\n<start_of_turn>model\n"
R1 = "<｜begin▁of▁sentence｜>Think.<｜User｜>{}<｜Assistant｜><think>\n"
ASKED = {  # with one image where there are eyes, and without
    "internvl": (CHATML.format("a <IMG_CONTEXT>\n b"), CHATML.format("a  b")),
    "qwen3_vl": (CHATML.format(f"a {SEEN} b"), CHATML.format("a  b")),
    "qwen2_5_vl": (CHATML.format(f"a {SEEN} b"), CHATML.format("a  b")),
    "gemma3": (GEMMA.format("a<start_of_image>b"), GEMMA.format("a  b")),
    "llava": ("Think. USER: <image>\na   b ASSISTANT:", "Think. USER: a  b ASSISTANT:"),
    "llava_next": (CHATML.format("<image>\na  b"), CHATML.format("a  b")),
    "text": (R1.format("a  b"), R1.format("a  b")),
    "text_qwen3": (CHATML.format("a  b"), CHATML.format("a  b")),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_system_prompt_images_and_generation_prompt_in_the_family_s_own_words(families, family):
    processor = families(family).processor(system="Think.")
    images = int(family in VISION)
    spelled = processor.chat("a <image> b", images), processor.chat("a <image> b", 0)
    assert spelled == ASKED[family]
    assert "Think." not in families(family).processor().chat("a <image> b", images)


def test_a_chat_template_replaces_the_checkpoint_s_own(families):
    seeing = "{{ messages[0].content[1].text }} {{ messages[0].content[0].type }}!"
    text = "{{ messages[0].content }}{% if add_generation_prompt %}!{% endif %}"
    assert families("gemma3").processor(chat_template=seeing).chat("Sum?", 1) == "Sum? image!"
    assert families("text").processor(chat_template=text).chat("Sum?", 0) == "Sum?!"


def test_arguments_reach_template_and_image_processor(families):
    quiet = families("text_qwen3").processor(template_arguments={"enable_thinking": False})
    assert quiet.chat("Sum?", 0).endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    row = models.row_of("Sum?", [noise(64, 64)])
    for arguments, tiles in (({}, 5), ({"max_patches": 1}, 1)):
        one = families("internvl").processor(image_arguments=arguments)
        pixels = make_prompts([row], one).renderings["image"].vision["pixel_values"]
        assert len(pixels) == tiles


BEGINS = {"gemma3": 1, "llava": 1, "text": 1}
"""Families with a mark of a text's beginning; template, tokenizer, or both write it."""


@pytest.mark.parametrize("family", FAMILIES)
def test_a_prompt_begins_once(families, family):
    processor = families(family).processor(system="Think.")
    begin = processor.tokenizer.bos_token_id
    assert (begin is not None) == (family in BEGINS)
    for images in ([noise()], []) if family in VISION else ([],):
        ids = processor.encode(processor.chat("Sum?", len(images)), images)["input_ids"][0].tolist()
        assert ids.count(begin) == BEGINS.get(family, 0)
        assert begin is None or ids[0] == begin


def test_a_template_without_a_beginning_gets_one_from_the_tokenizer_that_sees(families):
    bare = families("gemma3").processor(chat_template="{{ messages[0].content[-1].text }}")
    ids = bare.encode(bare.chat("Sum?", 0), [])["input_ids"][0].tolist()
    assert bare.tokenizer.decode(ids) == "<bos>Sum?"


@pytest.mark.parametrize("family", VISION)
def test_a_prompt_without_image_is_the_tokenizer_s_alone(families, family):
    """No pixels and no placeholder, the same ids as those of its text."""
    processor = families(family).processor()
    chat = processor.chat("Sum?", 0)
    batch = processor.encode(chat, [])
    assert set(batch) == {"input_ids", "attention_mask"}
    decoded = processor.tokenizer.decode(batch["input_ids"][0])
    begin = "<s> " if family == "llava" else ""  # SentencePiece adds the space
    assert decoded == begin + chat


def test_padding_is_the_end_of_a_turn_where_there_is_none(families):
    processor = families("text_qwen3").processor()
    tokenizer = processor.tokenizer
    assert processor.pad == tokenizer.pad_token_id != tokenizer.eos_token_id
    tokenizer.pad_token = None
    assert processor.pad == tokenizer.eos_token_id


@pytest.mark.parametrize("family", FAMILIES)
def test_saved_and_read_again_it_spells_the_same(families, family, tmp_path):
    processor = families(family).processor()
    processor.save(tmp_path)
    config = families(family).student / "config.json"
    (tmp_path / "config.json").write_bytes(config.read_bytes())
    images = [noise(48, 32)] if family in VISION else []
    chat = processor.chat("Sum?", len(images))
    again = load_processor(tmp_path)
    assert again.chat("Sum?", len(images)) == chat
    ours, theirs = processor.encode(chat, images), again.encode(chat, images)
    assert ours.keys() == theirs.keys()
    assert all(x.equal(theirs[name]) for name, x in ours.items())
