"""What may be written: ids that have a token, ends by id or by name, nothing that stands for
pixels."""

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM
from twins import FAMILIES

from gndpo.errors import UserError
from gndpo.models.digits import build_model, build_processor
from gndpo.models.processor import Processor
from gndpo.models.vocabulary import Vocabulary
from gndpo.policy import Policy
from tests.models import conftest as models

families = models.families
SIZE = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
SIZE |= {"intermediate_size": 32}


def model_of(rows):
    """A language model whose head has so many rows."""
    torch.manual_seed(0)
    config = Qwen2Config(vocab_size=rows, num_key_value_heads=2, eos_token_id=2, **SIZE)
    model = Qwen2ForCausalLM(config)
    model.generation_config.eos_token_id = None
    return model


def processor_of(ids, **special):
    tokenizer = Tokenizer(WordLevel(ids, unk_token="a"))
    return Processor(PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special))


HOLES = {"a": 0, "b": 1, "<end>": 2, "<pad>": 3, "c": 6}


@pytest.mark.parametrize(
    ("rows", "size", "forbidden"),
    [(8, 7, (3, 4, 5)), (7, 7, (3, 4, 5)), (5, 5, (3, 4)), (3, 3, ())],
)
def test_ids_without_a_token_are_never_written(rows, size, forbidden):
    """4 and 5 are holes; rows of the head beyond the tokenizer, and ids beyond the head, are cut
    off."""
    processor = processor_of(HOLES, eos_token="<end>", pad_token="<pad>")
    model = model_of(rows)
    vocabulary = Vocabulary.of(processor, model, None)
    assert vocabulary == Vocabulary(size, (2,), 3, forbidden)
    logp_V = Policy(model, vocabulary).head.log_probs(torch.ones(16))
    assert len(logp_V) == size
    assert logp_V.exp().eq(0).nonzero()[:, 0].tolist() == list(forbidden)


def test_ends_by_name_in_the_order_given():
    processor = processor_of(HOLES, eos_token="<end>", pad_token="<pad>")
    model = model_of(8)
    for names, eos, forbidden in (
        (["c"], (6,), (3, 4, 5)),
        (["b", "<end>"], (1, 2), (3, 4, 5)),
        (["<pad>"], (3,), (4, 5)),  # padding that is an end can be written
    ):
        assert Vocabulary.of(processor, model, names) == Vocabulary(7, eos, 3, forbidden)


def test_an_end_that_is_no_token_is_named():
    processor = processor_of(HOLES, eos_token="<end>", pad_token="<pad>")
    with pytest.raises(UserError) as error:
        Vocabulary.of(processor, model_of(8), ["<end>", "<eos>"])
    assert str(error.value) == (
        "model.eos names '<eos>', which is no token of the tokenizer; its own end is '<end>'"
    )


@pytest.fixture
def digits():
    processor = build_processor()
    model = build_model(
        processor.tokenizer, vision=SIZE, text={**SIZE, "num_key_value_heads": 2, "head_dim": 8}
    )
    return Processor(processor), model


VISUAL = {4, 5, 6, 7}  # <img>, </img>, <IMG_CONTEXT>, <video>


@pytest.mark.parametrize(
    ("configured", "pad", "eos", "forbidden"),
    [
        (1, "<pad>", (1,), {0, *VISUAL}),
        ([1, 10], "<pad>", (1, 10), {0, *VISUAL}),
        ([10, 1], "<pad>", (1, 10), {0, *VISUAL}),  # the tokenizer's comes first
        ([1, 0], "<pad>", (1, 0), VISUAL),  # padding that is an end can be written
        (None, "<pad>", (1,), {0, *VISUAL}),
        (None, None, (1,), VISUAL),
    ],
)
def test_vocabulary_of_the_embedded_models(digits, configured, pad, eos, forbidden):
    processor, model = digits
    model.generation_config.eos_token_id = configured
    processor.tokenizer.pad_token = pad
    size = len(processor.tokenizer)
    expected = Vocabulary(size, eos, 1 if pad is None else 0, tuple(sorted(forbidden)))
    assert Vocabulary.of(processor, model, None) == expected


QWEN = {"<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"}
NEVER = {
    "internvl": {"<|endoftext|>", "<img>", "</img>", "<IMG_CONTEXT>", "<video>"},
    "qwen3_vl": QWEN,
    "qwen2_5_vl": QWEN,
    "gemma3": {"<pad>", "<start_of_image>", "<end_of_image>", "<image_soft_token>"},
    "llava": {"<image>", "<pad>"},
    "llava_next": {"<image>"},
    "text": set(),
    "text_qwen3": set(),
}
ENDS = {
    "internvl": ["<|im_end|>"],
    "qwen3_vl": ["<|im_end|>", "<|endoftext|>"],
    "qwen2_5_vl": ["<|im_end|>", "<|endoftext|>"],
    "gemma3": ["<end_of_turn>", "<eos>"],  # first what the chat template writes
    "llava": ["</s>"],
    "llava_next": ["<|im_end|>", "<|endoftext|>"],
    "text": ["<｜end▁of▁sentence｜>"],
    "text_qwen3": ["<|im_end|>", "<|endoftext|>"],
}


@pytest.mark.parametrize("family", FAMILIES)
def test_pixels_frames_and_padding_are_never_written(families, family):
    tokenizer = families(family).processor().tokenizer
    policy = families(family).policy()
    vocabulary = policy.vocabulary
    assert {*tokenizer.convert_ids_to_tokens(list(vocabulary.forbidden))} == NEVER[family]
    assert tokenizer.convert_ids_to_tokens(list(vocabulary.eos)) == ENDS[family]
    assert vocabulary.size == len(tokenizer) < policy.head.linear.weight.shape[0]
    assert vocabulary.pad == tokenizer.pad_token_id


def test_what_two_share_is_what_both_may_write():
    """Ids that only one of both has are cut off; ends are the first one's, and stay writable."""
    ours = Vocabulary(size=9, eos=(1, 2), pad=0, forbidden=(0, 4, 8))
    theirs = Vocabulary(size=7, eos=(2,), pad=1, forbidden=(1, 5))
    assert ours.shared_with(theirs) == Vocabulary(7, (1, 2), 0, (0, 4, 5))
    assert theirs.shared_with(ours) == Vocabulary(7, (2,), 1, (0, 1, 4, 5))
    assert ours.shared_with(ours) == ours


def test_a_policy_cut_to_fewer_ids_keeps_its_temperature():
    model = model_of(8)
    whole = Vocabulary(size=7, eos=(2,), pad=3, forbidden=(3,))
    policy = Policy(model, whole, temperature=2.0)
    hidden_H = torch.ones(16)
    before_V = policy.head.log_probs(hidden_H)
    less = Vocabulary(size=5, eos=(2,), pad=3, forbidden=(0, 3))
    policy.write_only(less)
    after_V = policy.head.log_probs(hidden_H)
    assert policy.vocabulary == less
    assert after_V.exp().eq(0).tolist() == [True, False, False, True, False]
    kept = [1, 2, 4]
    torch.testing.assert_close(after_V[kept], before_V[kept].log_softmax(0))
