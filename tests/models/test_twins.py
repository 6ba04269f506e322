"""The tiny twins have what the real checkpoints have: weights, tokenizers, templates, endings."""

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, GenerationConfig
from twins import FAMILIES, VISION, write
from twins.reading import QUESTION, Twin

ASCII = "".join(map(chr, range(33, 127))) + "  what is the sum?\n\n\tx "


@pytest.fixture(scope="module")
def twins(tmp_path_factory):
    root = tmp_path_factory.mktemp("twins")
    return {family: Twin(family, write(family, root / family)) for family in FAMILIES}


@pytest.fixture(params=FAMILIES)
def twin(request, twins):
    return twins[request.param]


@pytest.fixture(params=VISION)
def seeing(request, twins):
    return twins[request.param]


def same(a: Path, b: Path) -> bool:
    one, other = (load_file(folder / "model.safetensors") for folder in (a, b))
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_the_weights_come_back_bitwise(twin, tmp_path):
    twin.model().save_pretrained(tmp_path / "again")
    assert same(twin.folder, tmp_path / "again")


def test_the_seed_alone_decides_the_weights(twin, tmp_path):
    state = torch.get_rng_state()
    assert same(twin.folder, write(twin.family, tmp_path / "same"))
    assert not same(twin.folder, write(twin.family, tmp_path / "other", seed=1))
    assert torch.equal(torch.get_rng_state(), state)


def test_sizes_and_dtype_are_those_asked_for(twin, tmp_path):
    folder = write(twin.family, tmp_path, layers=1, hidden=64, vocabulary=640, dtype=torch.bfloat16)
    model = Twin(twin.family, folder).model()
    text = model.config.get_text_config()
    assert (text.num_hidden_layers, text.hidden_size, text.vocab_size) == (1, 64, 640)
    assert {x.dtype for x in model.parameters()} == {torch.bfloat16}
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (folder / name).read_text() == (twin.folder / name).read_text()


def test_the_tokenizer_spells_ascii_and_has_fewer_ids_than_the_head_has_rows(twin):
    tokenizer = AutoTokenizer.from_pretrained(twin.folder)
    assert tokenizer.is_fast
    ids = tokenizer(ASCII, add_special_tokens=False).input_ids
    assert tokenizer.decode(ids) == ASCII
    assert tokenizer.unk_token_id not in ids or tokenizer.unk_token_id is None
    model = twin.model()
    assert len(tokenizer) < model.get_output_embeddings().weight.shape[0]
    assert len(tokenizer) == max(tokenizer.get_vocab().values()) + 1


ENDS = {
    "internvl": (["<|im_end|>"], "<|endoftext|>"),
    "qwen3_vl": (["<|im_end|>", "<|endoftext|>"], "<|endoftext|>"),
    "qwen2_5_vl": (["<|im_end|>", "<|endoftext|>"], "<|endoftext|>"),
    "gemma3": (["<eos>", "<end_of_turn>"], "<pad>"),
    "llava": (["</s>"], "<pad>"),
    "llava_next": (["<|im_end|>", "<|endoftext|>"], "<|endoftext|>"),
    "text": (["<｜end▁of▁sentence｜>"], "<｜end▁of▁sentence｜>"),
    "text_qwen3": (["<|im_end|>", "<|endoftext|>"], "<|endoftext|>"),
}


def test_what_ends_and_what_pads(twin):
    tokenizer = AutoTokenizer.from_pretrained(twin.folder)
    ends, pad = ENDS[twin.family]
    ids = GenerationConfig.from_pretrained(twin.folder).eos_token_id
    assert tokenizer.convert_ids_to_tokens(ids if isinstance(ids, list) else [ids]) == ends
    assert tokenizer.pad_token == pad


def test_which_heads_are_tied(twin):
    model = twin.model()
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert tied == (twin.family in ("internvl", "qwen3_vl", "gemma3", "text_qwen3"))


CHATML = "<|im_start|>system\nThink.<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n"
R1 = "<｜begin▁of▁sentence｜>Think.<｜User｜>Sum?"
RENDERED = {
    "internvl": CHATML.format("<IMG_CONTEXT>\nSum?") + "<|im_start|>assistant\n",
    "qwen3_vl": CHATML.format("<|vision_start|><|image_pad|><|vision_end|>Sum?")
    + "<|im_start|>assistant\n",
    "qwen2_5_vl": CHATML.format("<|vision_start|><|image_pad|><|vision_end|>Sum?")
    + "<|im_start|>assistant\n",
    "gemma3": "<bos><start_of_turn>user\nThink.\n\n<start_of_image>Sum?<end_of_turn>\n"
    "<start_of_turn>model\n",
    "llava": "Think. USER: <image>\nSum? ASSISTANT:",
    "llava_next": CHATML.format("<image>\nSum?") + "<|im_start|>assistant\n",
    "text": R1 + "<｜Assistant｜><think>\n",
    "text_qwen3": CHATML.format("Sum?") + "<|im_start|>assistant\n",
}


def as_strings(messages):
    return [
        {**turn, "content": "".join(part.get("text", "") for part in turn["content"])}
        for turn in messages
    ]


def test_the_template_renders_the_question(twin):
    tokenizer = AutoTokenizer.from_pretrained(twin.folder)
    messages = QUESTION if twin.family in VISION else as_strings(QUESTION)
    prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert prompt == RENDERED[twin.family]


@pytest.mark.parametrize("family", ["internvl", "qwen3_vl", "qwen2_5_vl", "gemma3"])
def test_content_may_be_a_string_where_the_real_template_takes_one(twins, family):
    tokenizer = AutoTokenizer.from_pretrained(twins[family].folder)
    text = [{**turn, "content": turn["content"][-1:]} for turn in QUESTION]
    prompts = [
        tokenizer.apply_chat_template(messages, tokenize=False)
        for messages in (text, as_strings(text))
    ]
    assert prompts[0] == prompts[1]
    assert "Sum?" in prompts[0]


def test_only_qwen2_5_vl_brings_its_own_system_prompt(seeing):
    tokenizer = AutoTokenizer.from_pretrained(seeing.folder)
    prompt = tokenizer.apply_chat_template(QUESTION[1:], tokenize=False)
    assert ("You are a helpful assistant." in prompt) == (seeing.family == "qwen2_5_vl")


def test_qwen3_can_skip_its_thoughts(twins):
    tokenizer = AutoTokenizer.from_pretrained(twins["text_qwen3"].folder)
    prompt = tokenizer.apply_chat_template(
        as_strings(QUESTION), tokenize=False, add_generation_prompt=True, enable_thinking=False
    )
    assert prompt == RENDERED["text_qwen3"] + "<think>\n\n</think>\n\n"


def test_language_models_are_far_from_uniform_too(twins):
    for family in ("text", "text_qwen3"):
        tokenizer = AutoTokenizer.from_pretrained(twins[family].folder)
        with torch.no_grad():
            logits = twins[family].model()(**tokenizer("what is it", return_tensors="pt")).logits
        assert logits.log_softmax(-1).max(-1).values.mean() > 1.5 - math.log(logits.shape[-1])
