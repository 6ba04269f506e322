"""Gemma-3-4b-it: SigLIP, 16 soft tokens per 32x32 image, windows of 8 tokens."""

from transformers import Gemma3Config, Gemma3ForConditionalGeneration

from twins.recipe import Recipe, Size, token_id
from twins.tokenizers import gemma

IMAGE, PATCH, SOFT_TOKENS, WINDOW = 32, 4, 16, 8
NAMED = {
    "boi_token": "<start_of_image>",
    "eoi_token": "<end_of_image>",
    "image_token": "<image_soft_token>",
}

TEMPLATE = """\
{{- bos_token -}}
{%- set turns = messages -%}
{%- set prefix = '' -%}
{%- if messages[0]['role'] == 'system' -%}
{%- set turns = messages[1:] -%}
{%- set system = messages[0]['content'] -%}
{%- set prefix = (system if system is string else system[0]['text']) + '\\n\\n' -%}
{%- endif -%}
{%- for message in turns -%}
{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}
{%- endif -%}
{%- set role = 'model' if message['role'] == 'assistant' else message['role'] -%}
{{ '<start_of_turn>' + role + '\\n' + (prefix if loop.first else '') }}
{%- if message['content'] is string -%}{{ message['content'] | trim }}
{%- else -%}
{%- for part in message['content'] -%}
{%- if part['type'] == 'image' -%}{{ '<start_of_image>' }}
{%- elif part['type'] == 'text' -%}{{ part['text'] | trim }}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{{ '<end_of_turn>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<start_of_turn>model\\n' }}{%- endif -%}"""
"""The system prompt becomes the head of the user's first turn."""


def recipe(size: Size) -> Recipe:
    tokenizer = gemma(list(NAMED.values()), extra_special_tokens=NAMED, chat_template=TEMPLATE)
    bos, eos, pad = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
    ends = [eos, token_id(tokenizer, "<end_of_turn>")]
    kinds = ["sliding_attention", "full_attention"]
    config = Gemma3Config(
        vision_config={
            "model_type": "siglip_vision_model",
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": IMAGE,
            "patch_size": PATCH,
            "vision_use_head": False,
        },
        text_config=size.text(
            tokenizer,
            head_dim=16,
            query_pre_attn_scalar=16,
            sliding_window=WINDOW,
            layer_types=[kinds[layer % 2] for layer in range(size.layers)],
            rope_parameters={
                "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
            },
        ),
        mm_tokens_per_image=SOFT_TOKENS,
        boi_token_index=token_id(tokenizer, NAMED["boi_token"]),
        eoi_token_index=token_id(tokenizer, NAMED["eoi_token"]),
        image_token_index=token_id(tokenizer, NAMED["image_token"]),
        eos_token_id=ends,
        tie_word_embeddings=True,
    )
    generation = {
        "do_sample": True,
        "top_k": 64,
        "top_p": 0.95,
        "cache_implementation": "hybrid",
        "bos_token_id": bos,
        "eos_token_id": ends,
        "pad_token_id": pad,
    }
    return Recipe(Gemma3ForConditionalGeneration, config, tokenizer, generation, FILES)


FILES = {
    "processor_config.json": {
        "processor_class": "Gemma3Processor",
        "image_seq_length": SOFT_TOKENS,
    },
    "preprocessor_config.json": {
        "image_processor_type": "Gemma3ImageProcessor",
        "processor_class": "Gemma3Processor",
        "do_convert_rgb": None,
        "do_pan_and_scan": None,
        "pan_and_scan_max_num_crops": None,
        "pan_and_scan_min_crop_size": None,
        "pan_and_scan_min_ratio_to_activate": None,
        "do_resize": True,
        "do_rescale": True,
        "do_normalize": True,
        "rescale_factor": 1 / 255,
        "resample": 2,
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
        "image_seq_length": SOFT_TOKENS,
        "size": {"height": IMAGE, "width": IMAGE},
    },
}
