"""InternVL3.5 checkpoints of true shape with random weights, to measure time and memory where
nothing can be downloaded:

    python experiments/memory/random_pair.py InternVL3.5-1B InternVL3.5-2B --to /tmp/pair

writes /tmp/pair/InternVL3.5-1B and so on, in bfloat16. They know nothing; their answers are noise.
"""

import argparse
from pathlib import Path

import torch
from shapes import CHECKPOINTS
from tokenizers import AddedToken, Regex, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from transformers import (
    AutoModelForImageTextToText,
    GotOcr2ImageProcessorPil,
    PreTrainedTokenizerFast,
)

from gndpo.models.digits import CHAT_TEMPLATE, END, NAMED, PAD, UNKNOWN
from gndpo.models.load import ImageOnlyInternVLProcessor

IDS = 151669
"""Of Qwen3's tokenizer; the head has 151936 rows."""


def tokenizer() -> PreTrainedTokenizerFast:
    """As many ids as the true one; of its words only those that mark turns and images are real."""
    special = [PAD, END, UNKNOWN, *NAMED.values()]
    words = [f"w{i}" for i in range(IDS - len(special))]
    made = Tokenizer(WordLevel({t: i for i, t in enumerate([*special, *words])}, UNKNOWN))
    made.pre_tokenizer = Split(Regex(r"\s+"), "removed")
    made.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in special])
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        eos_token=END,
        pad_token=PAD,
        unk_token=UNKNOWN,
        extra_special_tokens=NAMED,
    )


def write(name: str, folder: Path, seed: int) -> None:
    config = CHECKPOINTS[name].config()
    words = tokenizer()
    config.image_token_id = words.convert_tokens_to_ids(NAMED["context_image_token"])
    config.image_seq_length = 256
    torch.manual_seed(seed)
    model = AutoModelForImageTextToText.from_config(config, dtype=torch.bfloat16)
    model.generation_config.eos_token_id = words.eos_token_id
    model.save_pretrained(folder)
    pixels = GotOcr2ImageProcessorPil(size={"height": 448, "width": 448}, max_patches=12)
    ImageOnlyInternVLProcessor(
        pixels, words, image_seq_length=256, chat_template=CHAT_TEMPLATE
    ).save_pretrained(folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="+", choices=[n for n in CHECKPOINTS if "InternVL" in n])
    parser.add_argument("--to", type=Path, required=True)
    given = parser.parse_args()
    for seed, name in enumerate(given.names):
        write(name, given.to / name, seed)
