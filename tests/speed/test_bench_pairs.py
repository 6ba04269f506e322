"""What both sides read: prompts of exact length, heads without a row to spare."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from benchmarks import pairs
from benchmarks.cases import TINY, Case
from gndpo.models.load import load_model, load_processor

TILES = {30: 1, 260: 1, 1000: 4}


def lengths(case: Case, folder: Path) -> list[int]:
    processor = load_processor(folder / "student")
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    encoded = [
        processor.encode(processor.chat(row["problem"], 1), [Image.open(folder / row["images"][0])])
        for row in rows
    ]
    return [batch["input_ids"].shape[1] for batch in encoded]


@pytest.mark.parametrize(
    ("family", "length"),
    [("internvl", 30), ("internvl", 1000), ("llava", 260), ("qwen2_5_vl", 260)],
)
def test_every_prompt_has_the_tokens_that_were_asked_for(
    family: str, length: int, tmp_path: Path
) -> None:
    case = replace(TINY, family=family, prompt=length, prompts=2)
    pairs.write(case, tmp_path, steps=2)
    assert lengths(case, tmp_path) == [length] * 4
    problems = {
        json.loads(line)["problem"] for line in (tmp_path / "rows.jsonl").read_text().splitlines()
    }
    assert len(problems) == 4
    assert pairs.tiles(case) == TILES[length]


@pytest.mark.parametrize("family", pairs.IMAGES)
def test_every_row_of_the_head_is_a_token_of_both(family: str, tmp_path: Path) -> None:
    case = replace(TINY, family=family, prompt=64, vocabulary=700)
    pairs.write(case, tmp_path, steps=1)
    known = [load_processor(tmp_path / which).tokenizer.get_vocab() for which in pairs.TIMES]
    assert known[0] == known[1]
    assert sorted(known[0].values()) == list(range(700))
    for which, times in pairs.TIMES.items():
        config = load_model(tmp_path / which).config.get_text_config()
        assert (config.num_hidden_layers, config.hidden_size) == (2 * times, 64 * times)
        assert config.vocab_size == 700


def test_a_prompt_that_cannot_hold_its_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the image and its frame have"):
        pairs.write(replace(TINY, prompt=10), tmp_path, steps=1)
