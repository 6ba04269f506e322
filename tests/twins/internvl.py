"""InternVL3.5-1B-HF: ViT, projector, Qwen3; tiles of 32x32 with 4 placeholders each."""

from transformers import InternVLConfig, InternVLForConditionalGeneration

from twins.recipe import Recipe, Size, token_id
from twins.tokenizers import qwen
from twins.words import CHATML, QWEN3_TOKENS, THINK

TILE, PATCH, SHRINK = 32, 8, 0.5
TILE_TOKENS = round((TILE // PATCH * SHRINK) ** 2)
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]

NAMED = {
    "start_image_token": "<img>",
    "end_image_token": "</img>",
    "context_image_token": "<IMG_CONTEXT>",
    "video_token": "<video>",
}
PLACES = ("<quad>", "</quad>", "<ref>", "</ref>", "<box>", "</box>")
VISUAL = ("<img>", "</img>", "<IMG_CONTEXT>", *PLACES, "<video>")
TEMPLATE = CHATML.replace("IMAGE", "<IMG_CONTEXT>\\n")


def recipe(size: Size) -> Recipe:
    tokenizer = qwen(
        [*QWEN3_TOKENS, *VISUAL],
        THINK,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=NAMED,
        chat_template=TEMPLATE,
    )
    eos = tokenizer.eos_token_id
    config = InternVLConfig(
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": [TILE, TILE],
            "patch_size": [PATCH, PATCH],
            "attention_bias": True,
        },
        text_config=size.text(
            tokenizer, model_type="qwen3", head_dim=16, bos_token_id=None, tie_word_embeddings=True
        ),
        image_token_id=token_id(tokenizer, "<IMG_CONTEXT>"),
        image_seq_length=TILE_TOKENS,
        downsample_ratio=SHRINK,
        tie_word_embeddings=True,
    )
    generation = {"eos_token_id": eos, "pad_token_id": tokenizer.pad_token_id}
    return Recipe(InternVLForConditionalGeneration, config, tokenizer, generation, FILES)


PIXELS = {
    "do_convert_rgb": True,
    "do_resize": True,
    "do_rescale": True,
    "do_normalize": True,
    "rescale_factor": 1 / 255,
    "resample": 3,
    "image_mean": MEAN,
    "image_std": STD,
    "size": {"height": TILE, "width": TILE},
    "processor_class": "InternVLProcessor",
}
FILES = {
    "processor_config.json": {
        "processor_class": "InternVLProcessor",
        "image_seq_length": TILE_TOKENS,
    },
    "preprocessor_config.json": {
        **PIXELS,
        "image_processor_type": "GotOcr2ImageProcessorFast",
        "crop_to_patches": False,  # the processor crops all the same, which is its own default
        "min_patches": 1,
        "max_patches": 12,
    },
    "video_preprocessor_config.json": {
        **PIXELS,
        "video_processor_type": "InternVLVideoProcessor",
    },
}
