import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from gndpo.errors import UserError
from gndpo.models.digits import build_model, build_processor
from gndpo.models.load import load_model, load_processor

SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}


@pytest.fixture
def checkpoint(tmp_path):
    processor = build_processor()
    text = {**SIZES, "num_key_value_heads": 2, "head_dim": 8}
    build_model(processor.tokenizer, vision=SIZES, text=text).save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    return tmp_path


def one_sentence(error):
    text = str(error.value)
    assert text.startswith("cannot load the checkpoint")
    assert "\n" not in text
    return text


def test_missing_folder(tmp_path):
    for load in (load_model, load_processor):
        with pytest.raises(UserError) as error:
            load(tmp_path / "nothing")
        assert "no such folder" in one_sentence(error)


def test_empty_folder(tmp_path):
    for load in (load_model, load_processor):
        with pytest.raises(UserError) as error:
            load(tmp_path)
        one_sentence(error)


def test_half_a_weights_file(checkpoint):
    weights = checkpoint / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    with pytest.raises(UserError) as error:
        load_model(checkpoint)
    one_sentence(error)


def test_a_checkpoint_without_some_weights_is_refused_not_filled_with_noise(checkpoint):
    weights = load_file(checkpoint / "model.safetensors")
    name = next(name for name in weights if "vision" in name)
    del weights[name]
    save_file(weights, checkpoint / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match="vision"):
        load_model(checkpoint)


def test_broken_json(checkpoint):
    (checkpoint / "config.json").write_text("{")
    for load in (load_model, load_processor):
        with pytest.raises(UserError) as error:
            load(checkpoint)
        one_sentence(error)


def test_dtype_is_the_callers(checkpoint):
    config = json.loads((checkpoint / "config.json").read_text())
    assert config["dtype"] == "float32"
    assert load_model(checkpoint, torch.bfloat16).dtype == torch.bfloat16
    assert load_model(checkpoint).dtype == torch.float32
