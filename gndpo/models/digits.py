"""The embedded models: InternVL (ViT, projector, Qwen3) small enough for a CPU, a tokenizer."""

from collections.abc import Mapping
from typing import Any

from tokenizers import Regex, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Sequence as Chain
from tokenizers.pre_tokenizers import Split
from transformers import (
    GotOcr2ImageProcessorPil,
    InternVLConfig,
    InternVLForConditionalGeneration,
    PreTrainedTokenizerFast,
)

from gndpo.data.digits import KINDS, NUMBERS
from gndpo.models.load import ImageOnlyInternVLProcessor

IMAGE_SIZE, PATCH_SIZE, SHRINK = 32, 4, 0.5
IMAGE_TOKENS = round((IMAGE_SIZE // PATCH_SIZE * SHRINK) ** 2)
INK_MEAN, INK_STD = 0.3, 0.35
"""About the mean and spread of the composed images."""

PAD, END, UNKNOWN = "<pad>", "<|im_end|>", "<unk>"
NAMED = {
    "turn_token": "<|im_start|>",
    "start_image_token": "<img>",
    "end_image_token": "</img>",
    "context_image_token": "<IMG_CONTEXT>",
    "video_token": "<video>",
}
"""Attributes that the tokenizer gets and InternVLProcessor reads, beside the mark of a turn."""
FORMAT = ("<think>", "</think>", "\\boxed{", "}", ";")

CHAT_TEMPLATE = """\
{%- for message in messages -%}
{{ '<|im_start|>' + message['role'] + '\n' }}
{%- if message['content'] is string -%}
{{ message['content'] }}
{%- else -%}
{%- for part in message['content'] -%}
{%- if part['type'] == 'image' -%}{{ '<IMG_CONTEXT>\n' }}{%- else -%}{{ part['text'] }}{%- endif -%}
{%- endfor -%}
{%- endif -%}
{{ '<|im_end|>\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}"""


def build_tokenizer() -> PreTrainedTokenizerFast:
    """One token per number and word, split at spaces and at newlines, which count."""
    special = [PAD, END, UNKNOWN, *NAMED.values()]
    words = sorted({word for kind in KINDS.values() for word in kind.problem.split()})
    tokens = [*special, *FORMAT, "\n", "system", "user", "assistant", *map(str, NUMBERS), *words]
    tokenizer = Tokenizer(
        WordLevel({token: i for i, token in enumerate(tokens)}, unk_token=UNKNOWN)
    )
    tokenizer.pre_tokenizer = Chain([Split(" ", "removed"), Split(Regex("\n"), "isolated")])
    fast: PreTrainedTokenizerFast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        unk_token=UNKNOWN,
        extra_special_tokens=NAMED,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
    return fast


def build_processor() -> ImageOnlyInternVLProcessor:
    """32x32 images as they are, one tile each."""
    image_processor = GotOcr2ImageProcessorPil(
        size={"height": IMAGE_SIZE, "width": IMAGE_SIZE},
        crop_to_patches=False,
        max_patches=1,
        image_mean=[INK_MEAN] * 3,
        image_std=[INK_STD] * 3,
    )
    return ImageOnlyInternVLProcessor(
        image_processor,
        build_tokenizer(),
        image_seq_length=IMAGE_TOKENS,
        chat_template=CHAT_TEMPLATE,
    )


def build_model(
    tokenizer: PreTrainedTokenizerFast, *, vision: Mapping[str, Any], text: Mapping[str, Any]
) -> InternVLForConditionalGeneration:
    """Random weights from torch's global generator.

    vision, text: fields of InternVLVisionConfig and Qwen3Config.
    """
    image_token_id = tokenizer.convert_tokens_to_ids(NAMED["context_image_token"])
    assert isinstance(image_token_id, int)
    config = InternVLConfig(
        vision_config={"image_size": [IMAGE_SIZE] * 2, "patch_size": [PATCH_SIZE] * 2, **vision},
        text_config={
            "model_type": "qwen3",
            "vocab_size": len(tokenizer),
            "bos_token_id": None,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            **text,
        },
        image_token_id=image_token_id,
        image_seq_length=IMAGE_TOKENS,
        downsample_ratio=SHRINK,
    )
    model = InternVLForConditionalGeneration(config)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model
