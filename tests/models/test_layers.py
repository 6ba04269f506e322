"""Language models outside the tested families: windows without a list of layers, and layers that no
prompt can be shared with."""

import pytest
import torch
from transformers import MistralConfig, MistralForCausalLM, Qwen3NextConfig

from gndpo.errors import UserError
from gndpo.models.load import check_layers
from gndpo.models.vocabulary import Vocabulary
from gndpo.policy import Policy
from gndpo.prompts import left_padded

SIZE = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "initializer_range": 0.3,
}


@pytest.mark.parametrize("window", [None, 6])
@pytest.mark.parametrize("how", ["hidden", "packed"])
def test_a_window_of_all_layers_holds_for_answers_too(window, how):
    torch.manual_seed(0)
    model = MistralForCausalLM(MistralConfig(**SIZE, sliding_window=window)).eval().double()
    policy = Policy(model, Vocabulary(size=60, eos=(3,), pad=0, forbidden=(0,)))
    prompts = [torch.randint(4, 60, (1, n)) for n in (9, 14)]
    rendering = left_padded([{"input_ids": ids} for ids in prompts], 0)
    ids_BT = torch.randint(4, 60, (4, 12))
    with torch.no_grad():
        got_BTH = getattr(policy, how)(rendering, ids_BT)
        for i, answer_T in enumerate(ids_BT):
            whole = torch.cat([prompts[i // 2], answer_T[None]], 1)
            hidden = policy.backbone(input_ids=whole, use_cache=False).last_hidden_state[0]
            expected = hidden[prompts[i // 2].shape[1] - 1 : -1]
            torch.testing.assert_close(got_BTH[i], expected, atol=1e-6, rtol=0)


def test_layers_with_a_state_are_refused():
    config = Qwen3NextConfig(**SIZE, layer_types=["linear_attention", "full_attention"])
    with pytest.raises(UserError) as error:
        check_layers("some/where", config)
    assert str(error.value) == (
        "cannot load the checkpoint some/where: qwen3_next has layers of linear_attention, and the "
        "answers to a prompt share its cache, which works with full_attention and "
        "sliding_attention alone; use a model of another family"
    )
    check_layers("some/where", MistralConfig(**SIZE))
