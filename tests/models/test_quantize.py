"""A teacher in fewer bits. The libraries are extras: `pip install -e '.[quantization]'`."""

import pytest
import torch
from twins import write

from gndpo.errors import UserError
from gndpo.models import quantize
from gndpo.models.load import load_model
from gndpo.models.quantize import LIBRARIES, quantization_config


def test_an_unknown_quantization_lists_the_known():
    with pytest.raises(
        UserError, match="choose torchao_int8, bitsandbytes_8bit, bitsandbytes_4bit"
    ):
        quantization_config("int3")


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_missing_library_says_what_to_type(name, monkeypatch):
    monkeypatch.setattr(quantize, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=rf"{name} needs {LIBRARIES[name]}; type pip install"):
        quantization_config(name)


def held(parameter):
    """Bytes of a parameter, those of torchao's tensors inside a tensor."""
    if not hasattr(parameter, "__tensor_flatten__"):
        return parameter.numel() * parameter.element_size()
    names, _ = parameter.__tensor_flatten__()
    return sum(held(getattr(parameter, name)) for name in names)


@pytest.mark.parametrize("name", LIBRARIES)
def test_fewer_bits_say_nearly_the_same(tmp_path, name):
    pytest.importorskip(LIBRARIES[name])
    folder = write("internvl", tmp_path, hidden=128, initializer_range=0.05)
    exact = load_model(folder)
    coarse = load_model(folder, torch.bfloat16, quantization=name)
    ids = torch.randint(4, 100, (1, 12), generator=torch.Generator().manual_seed(0))
    p, q = (model(input_ids=ids).logits.float().log_softmax(-1) for model in (exact, coarse))
    kl = (p.exp() * (p - q)).sum(-1)
    assert 0 < kl.max() < 0.05
    layers = (model.model.language_model.layers for model in (exact, coarse))
    whole, small = (sum(map(held, module.parameters())) for module in layers)
    assert small < whole / 3
