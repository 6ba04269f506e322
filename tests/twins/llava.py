"""LLaVA-1.5-7B (CLIP, Llama, one tile) and LLaVA-NeXT (CLIP, Qwen2, an overview and tiles)."""

from typing import Any

from transformers import (
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
)

from twins.recipe import CLIP_MEAN, CLIP_STD, Recipe, Size, token_id
from twins.tokenizers import llama, qwen

PATCH = 8
LLAVA_TILE, NEXT_TILE = 32, 16
GRIDS = [[16, 32], [32, 16], [32, 32], [48, 16], [16, 48]]
PARTS = """\
{%- for part in message['content'] | selectattr('type', 'equalto', 'image') -%}
{{ '<image>\\n' }}
{%- endfor -%}
{%- for part in message['content'] | selectattr('type', 'equalto', 'text') -%}
{{ part['text'] + END }}
{%- endfor -%}"""
"""Images first, wherever they stand; content is a list of parts, never a string."""

LLAVA = (
    "{%- for message in messages -%}"
    "{%- if message['role'] != 'system' -%}{{ message['role'].upper() + ': ' }}{%- endif -%}"
    + PARTS.replace("END", "' '")
    + "{%- endfor -%}{%- if add_generation_prompt -%}{{ 'ASSISTANT:' }}{%- endif -%}"
)
NEXT = (
    "{%- for message in messages -%}{{ '<|im_start|>' + message['role'] + '\\n' }}"
    + PARTS.replace("END", "''")
    + "{{ '<|im_end|>\\n' }}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}"
)


def llava(size: Size) -> Recipe:
    tokenizer = llama(
        ["<image>", "<pad>"],
        pad_token="<pad>",
        extra_special_tokens={"image_token": "<image>"},
        chat_template=LLAVA,
    )
    config = LlavaConfig(
        vision_config=clip(LLAVA_TILE),
        text_config=size.text(
            tokenizer, model_type="llama", head_dim=16, tie_word_embeddings=False
        ),
        image_token_index=token_id(tokenizer, "<image>"),
        image_seq_length=(LLAVA_TILE // PATCH) ** 2,
    )
    generation = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    files = files_of("Llava", "CLIPImageProcessor", LLAVA_TILE, {})
    return Recipe(LlavaForConditionalGeneration, config, tokenizer, generation, files)


def llava_next(size: Size) -> Recipe:
    """Pads with the tokenizer's EOS; a turn ends with another id, which only
    generation_config.json names."""
    tokenizer = qwen(
        ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>"],
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        extra_special_tokens={"image_token": "<image>"},
        chat_template=NEXT,
    )
    config = LlavaNextConfig(
        vision_config=clip(NEXT_TILE),
        text_config=size.text(tokenizer, model_type="qwen2", tie_word_embeddings=False),
        image_token_index=token_id(tokenizer, "<image>"),
        image_seq_length=(NEXT_TILE // PATCH) ** 2,
        image_grid_pinpoints=GRIDS,
    )
    eos = tokenizer.eos_token_id
    ends = [token_id(tokenizer, "<|im_end|>"), eos]
    generation = {"bos_token_id": eos, "eos_token_id": ends, "pad_token_id": eos}
    more = {"aspect_ratio_setting": "anyres", "image_grid_pinpoints": GRIDS, "do_pad": True}
    files = files_of("LlavaNext", "LlavaNextImageProcessor", NEXT_TILE, more)
    return Recipe(LlavaNextForConditionalGeneration, config, tokenizer, generation, files)


def clip(tile: int) -> dict[str, Any]:
    """The features are those of the last layer but one."""
    return {
        "model_type": "clip_vision_model",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "image_size": tile,
        "patch_size": PATCH,
        "projection_dim": 16,
    }


def files_of(name: str, image_processor: str, tile: int, more: dict[str, Any]) -> dict[str, Any]:
    processor = {"processor_class": f"{name}Processor"}
    return {
        "processor_config.json": {
            **processor,
            "image_token": "<image>",
            "patch_size": PATCH,
            "num_additional_image_tokens": 1,
            "vision_feature_select_strategy": "default",
        },
        "preprocessor_config.json": {
            **processor,
            "image_processor_type": image_processor,
            "do_convert_rgb": True,
            "do_resize": True,
            "do_center_crop": True,
            "do_rescale": True,
            "do_normalize": True,
            "rescale_factor": 1 / 255,
            "resample": 3,
            "image_mean": CLIP_MEAN,
            "image_std": CLIP_STD,
            "size": {"shortest_edge": tile},
            "crop_size": {"height": tile, "width": tile},
            **more,
        },
    }
