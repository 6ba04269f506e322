"""Qwen3-VL-2B and Qwen2.5-VL-7B: images of any shape, one placeholder per 8x8 pixels."""

from typing import Any

from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)

from twins.recipe import CLIP_MEAN, CLIP_STD, Recipe, Size, token_id
from twins.tokenizers import qwen
from twins.words import CHATML, QWEN3_TOKENS, QWEN_TOKENS, THINK, TOOLS

PATCH, MERGE = 4, 2
SMALLEST, LARGEST = 16 * 16, 8 * 8 * 32  # pixels: 4 to 32 placeholders
SECTIONS = [4, 2, 2]  # rotary pairs of time, height and width, out of the 8 of a head
WINDOW = 16  # pixels: a 32x32 image has four windows

QWEN3_VL = CHATML.replace("IMAGE", "<|vision_start|><|image_pad|><|vision_end|>")
QWEN2_5_VL = (
    "{%- if messages[0]['role'] != 'system' -%}"
    "{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}{%- endif -%}" + QWEN3_VL
)


def qwen3_vl(size: Size) -> Recipe:
    tokenizer = instruct_tokenizer(QWEN3_TOKENS, THINK, QWEN3_VL)
    config = Qwen3VLConfig(
        vision_config={
            **vision(size),
            "depth": 3,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0, 1],
        },
        text_config=size.text(
            tokenizer,
            head_dim=16,
            pad_token_id=None,
            rope_parameters={
                "rope_type": "default",
                "rope_theta": 5e6,
                "mrope_section": SECTIONS,
                "mrope_interleaved": True,
            },
        ),
        tie_word_embeddings=True,
        **visual_ids(tokenizer),
    )
    generation = {"temperature": 0.7, "top_k": 20, "top_p": 0.8, **endings(tokenizer)}
    files = {
        "preprocessor_config.json": {
            **pixels("Qwen3VLProcessor", [0.5] * 3, [0.5] * 3),
            "image_processor_type": "Qwen2VLImageProcessorFast",
        },
        "video_preprocessor_config.json": {
            **pixels("Qwen3VLProcessor", [0.5] * 3, [0.5] * 3),
            "video_processor_type": "Qwen3VLVideoProcessor",
        },
    }
    return Recipe(Qwen3VLForConditionalGeneration, config, tokenizer, generation, files)


def qwen2_5_vl(size: Size) -> Recipe:
    tokenizer = instruct_tokenizer((*QWEN_TOKENS, *TOOLS), TOOLS, QWEN2_5_VL)
    config = Qwen2_5_VLConfig(
        vision_config={
            **vision(size),
            "depth": 3,
            "window_size": WINDOW,
            "fullatt_block_indexes": [2],
        },
        text_config=size.text(
            tokenizer,
            pad_token_id=None,
            rope_parameters={
                "rope_type": "default",
                "rope_theta": 1e6,
                "mrope_section": SECTIONS,
            },
        ),
        tie_word_embeddings=False,
        **visual_ids(tokenizer),
    )
    generation = {"temperature": 1e-6, "repetition_penalty": 1.05, **endings(tokenizer)}
    files = {
        "preprocessor_config.json": {
            **pixels("Qwen2_5_VLProcessor", CLIP_MEAN, CLIP_STD),
            "image_processor_type": "Qwen2VLImageProcessor",
            "min_pixels": SMALLEST,
            "max_pixels": LARGEST,
        },
    }
    return Recipe(Qwen2_5_VLForConditionalGeneration, config, tokenizer, generation, files)


def instruct_tokenizer(added: tuple[str, ...], plain: tuple[str, ...], template: str) -> Any:
    return qwen(
        added,
        plain,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=[token for token in QWEN_TOKENS[1:] if token != "<|im_end|>"],
        chat_template=template,
    )


def vision(size: Size) -> dict[str, Any]:
    return {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_heads": 2,
        "patch_size": PATCH,
        "spatial_merge_size": MERGE,
        "temporal_patch_size": 2,
        "out_hidden_size": size.hidden,
    }


def visual_ids(tokenizer: Any) -> dict[str, int]:
    return {
        "image_token_id": token_id(tokenizer, "<|image_pad|>"),
        "video_token_id": token_id(tokenizer, "<|video_pad|>"),
        "vision_start_token_id": token_id(tokenizer, "<|vision_start|>"),
        "vision_end_token_id": token_id(tokenizer, "<|vision_end|>"),
    }


def endings(tokenizer: Any) -> dict[str, Any]:
    """Two ids end an answer, and one of them pads."""
    pad = tokenizer.pad_token_id
    return {
        "do_sample": True,
        "bos_token_id": pad,
        "eos_token_id": [tokenizer.eos_token_id, pad],
        "pad_token_id": pad,
    }


def pixels(processor: str, mean: list[float], std: list[float]) -> dict[str, Any]:
    return {
        "size": {"shortest_edge": SMALLEST, "longest_edge": LARGEST},
        "patch_size": PATCH,
        "temporal_patch_size": 2,
        "merge_size": MERGE,
        "image_mean": mean,
        "image_std": std,
        "processor_class": processor,
    }
