import json
import shutil
from importlib.util import find_spec

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import dynamic_module_utils
from twins import FAMILIES, VISION

from gndpo.errors import UserError
from gndpo.models import quantize
from gndpo.models.digits import build_model, build_processor
from gndpo.models.load import load_model, load_processor, located, named, sees

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


@pytest.mark.parametrize(
    ("path", "halves"),
    [
        ("OpenGVLab/InternVL3_5-1B-HF", ("OpenGVLab/InternVL3_5-1B-HF", None)),
        ("Qwen/Qwen3-VL-2B@v1.0", ("Qwen/Qwen3-VL-2B", "v1.0")),
        ("Qwen/Qwen3-VL-2B@refs/pr/3", ("Qwen/Qwen3-VL-2B", "refs/pr/3")),
        ("a@b@c", ("a", "b@c")),
        ("a@", ("a@", None)),
    ],
)
def test_a_revision_stands_behind_the_name(path, halves):
    assert named(path) == halves
    where = {"trust_remote_code": False}
    assert located(path, False) == where | ({"revision": halves[1]} if halves[1] else {})


def test_a_folder_with_an_at_in_its_name_is_a_folder(checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "today@noon"
    shutil.copytree(checkpoint, folder)
    assert named(folder) == (str(folder), None)
    assert load_model(folder).num_parameters() == load_model(checkpoint).num_parameters()
    assert load_processor(folder).image_processor is not None
    with pytest.raises(UserError) as error:
        load_model(f"{folder}x")
    assert one_sentence(error) == (f"cannot load the checkpoint {folder}x: there is no such folder")


CODE = (
    "it needs code of its own, which is not run by default; use a checkpoint that "
    "transformers knows (InternVL3.5: the -HF ones), or read that code and set "
    "model.remote_code=true"
)


@pytest.fixture
def foreign(tmp_path):
    """As original InternVL checkpoints are: a type that transformers has not, and code for it that
    says when it runs."""
    config = {
        "model_type": "internvl_chat",
        "auto_map": {"AutoConfig": "configuration_foreign.ForeignConfig"},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    code = "\n".join(
        (
            "from pathlib import Path",
            "from transformers import PreTrainedConfig",
            f"Path({str(tmp_path)!r}, 'ran').touch()",
            "class ForeignConfig(PreTrainedConfig):",
            "    model_type = 'internvl_chat'",
        )
    )
    (tmp_path / "configuration_foreign.py").write_text(code)
    return tmp_path


@pytest.mark.parametrize("load", [load_model, load_processor])
def test_code_of_a_checkpoint_is_refused_and_not_run(foreign, load):
    with pytest.raises(UserError) as error:
        load(foreign)
    assert str(error.value) == f"cannot load the checkpoint {foreign}: {CODE}"
    assert not (foreign / "ran").exists()


def test_code_of_a_checkpoint_runs_where_it_is_allowed(foreign, monkeypatch):
    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(foreign / "modules"))
    monkeypatch.syspath_prepend(foreign / "modules")
    with pytest.raises(UserError) as error:  # it has a configuration and no model
        load_model(foreign, remote_code=True)
    assert CODE not in one_sentence(error)
    assert (foreign / "ran").exists()


def test_an_attention_that_is_not_known_is_refused(checkpoint):
    with pytest.raises(UserError) as error:
        load_model(checkpoint, attention="flash")
    assert str(error.value) == (
        "model.attention=flash is unknown; choose sdpa, eager, flash_attention_2, "
        "flash_attention_3, flex_attention"
    )


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_attention_is_the_one_asked_for(checkpoint, attention):
    assert load_model(checkpoint, attention=attention).config._attn_implementation == attention


@pytest.mark.skipif(find_spec("flash_attn") is not None, reason="flash_attn is installed")
def test_an_attention_that_is_not_installed_is_one_sentence(checkpoint):
    with pytest.raises(UserError) as error:
        load_model(checkpoint, attention="flash_attention_2")
    assert "FlashAttention2" in one_sentence(error)


def test_an_image_backend_that_is_not_known_is_refused(checkpoint):
    with pytest.raises(UserError) as error:
        load_processor(checkpoint, backend="opencv")
    assert str(error.value) == ("model.image_backend=opencv is unknown; choose pil or torchvision")


@pytest.mark.skipif(find_spec("torchvision") is not None, reason="torchvision is installed")
def test_torchvision_is_asked_for_by_name_where_it_is_not_installed(checkpoint):
    with pytest.raises(UserError) as error:
        load_processor(checkpoint, backend="torchvision")
    assert str(error.value) == (
        "model.image_backend=torchvision needs torchvision, which is not installed; "
        "install it or use model.image_backend=pil"
    )


def test_a_quantization_that_is_not_known_is_refused(checkpoint):
    with pytest.raises(UserError) as error:
        load_model(checkpoint, quantization="int3")
    assert str(error.value) == (
        "model.teacher_quantization=int3 is unknown; choose torchao_int8, bitsandbytes_8bit, "
        "bitsandbytes_4bit or null"
    )


@pytest.mark.parametrize(
    ("name", "library"), [("torchao_int8", "torchao"), ("bitsandbytes_4bit", "bitsandbytes")]
)
def test_a_quantization_that_is_not_installed_says_what_to_type(
    checkpoint, name, library, monkeypatch
):
    monkeypatch.setattr(quantize, "find_spec", lambda name: None)
    with pytest.raises(UserError) as error:
        load_model(checkpoint, quantization=name)
    assert str(error.value) == (
        f"model.teacher_quantization={name} needs {library}; type pip install 'gndpo[quantization]'"
    )


def test_a_type_that_writes_no_text_is_one_sentence(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "clip_vision_model"}))
    with pytest.raises(UserError) as error:
        load_model(tmp_path)
    assert "CLIPVisionConfig" in one_sentence(error)


def test_a_name_on_the_hub_without_network_is_one_sentence(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for load in (load_model, load_processor):
        with pytest.raises(UserError) as error:
            load("nobody/nothing@v2")
        assert "nobody/nothing@v2" in one_sentence(error)


@pytest.mark.parametrize("family", FAMILIES)
def test_families_that_see_have_eyes_and_the_others_a_tokenizer(families, family):
    """No processor asks for the video half, which would need torchvision."""
    processor = families(family).processor()
    model = families(family).policy(dtype=torch.float32).model
    assert (processor.image_processor is not None) == sees(model.config) == (family in VISION)
    assert not hasattr(processor.own, "video_processor")
    assert (processor.own is processor.tokenizer) == (family not in VISION)


def test_options_become_fields_of_the_processor(checkpoint):
    processor = load_processor(checkpoint, system="Think.", image_arguments={"max_patches": 1})
    assert (processor.system, processor.image_arguments) == ("Think.", {"max_patches": 1})
