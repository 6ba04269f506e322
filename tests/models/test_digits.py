import pytest
import torch

from gndpo.data.digits import KINDS, NUMBERS, DigitsRows
from gndpo.models.digits import IMAGE_TOKENS, NAMED, build_model, build_processor
from gndpo.models.load import load_model, load_processor
from gndpo.models.processor import Processor
from gndpo.prompts import make_prompts

TINY_VISION = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
TINY_TEXT = {**TINY_VISION, "num_key_value_heads": 2, "head_dim": 8}


@pytest.fixture(scope="module")
def processor():
    return Processor(build_processor())


@pytest.fixture(scope="module")
def rows():
    made = DigitsRows(
        "test",
        0,
        blocks={"test": [0, 50]},
        kinds=list(KINDS),
        augment=None,
        images=None,
        language="plain",
    )
    return [made[i] for i in range(12)]


def tiny(processor):
    torch.manual_seed(0)
    return build_model(processor.tokenizer, vision=TINY_VISION, text=TINY_TEXT).eval()


def test_a_number_is_one_token(processor):
    ids = processor.tokenizer([str(n) for n in NUMBERS])["input_ids"]
    assert all(len(row) == 1 for row in ids)
    assert len({row[0] for row in ids}) == len(NUMBERS)


def test_solutions_have_14_tokens_and_survive_decoding(processor, rows):
    tokenizer = processor.tokenizer
    for row in rows:
        ids = tokenizer(row["solution"] + tokenizer.eos_token)["input_ids"]
        assert len(ids) == 14
        assert ids[-1] == tokenizer.eos_token_id
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids, skip_special_tokens=True) == row["solution"]


def test_prompts_know_every_word_and_hold_one_token_per_8x8_pixels(processor, rows):
    prompts = make_prompts(rows, processor)
    image, text = prompts.renderings["image"].ids_PL, prompts.renderings["text"].ids_PL
    place = processor.own.image_token_id
    assert ((image == place).sum(-1) == IMAGE_TOKENS).all()
    visual = torch.tensor(processor.tokenizer.convert_tokens_to_ids(list(NAMED.values())[1:]))
    assert not torch.isin(text, visual).any()
    unknown = processor.tokenizer.unk_token_id
    assert unknown not in image
    assert unknown not in text


def test_pixels_are_normalized_and_neither_resized_nor_tiled(processor, rows):
    pixels = make_prompts(rows, processor).renderings["image"].vision["pixel_values"]
    assert pixels.shape == (len(rows), 3, 32, 32)
    grey = torch.tensor(list(rows[0]["images"][0].convert("L").tobytes())).view(32, 32) / 255
    torch.testing.assert_close(pixels[0, 1], (grey - 0.3) / 0.35)


def test_saved_and_loaded_it_is_the_same(processor, rows, tmp_path):
    model = tiny(processor)
    model.save_pretrained(tmp_path)
    processor.save(tmp_path)
    again = load_processor(tmp_path)
    before, after = (make_prompts(rows, p).renderings["image"] for p in (processor, again))
    assert before.ids_PL.equal(after.ids_PL)
    assert before.vision["pixel_values"].equal(after.vision["pixel_values"])
    loaded = load_model(tmp_path)
    assert not loaded.training
    inputs = {"input_ids": before.ids_PL, "attention_mask": before.mask_PL.long(), **before.vision}
    with torch.no_grad():
        assert model(**inputs).logits.equal(loaded(**inputs).logits)


def test_the_head_ends_where_the_tokenizer_ends(processor):
    model = tiny(processor)
    assert model.get_output_embeddings().weight.shape[0] == len(processor.tokenizer)
    assert model.generation_config.eos_token_id == processor.tokenizer.eos_token_id
