"""Questions about four handwritten digits, composed on the fly from scikit-learn's 8x8 images.

The 1797 images (the test part of UCI's optdigits: 13 writers, none marked) are cut into contiguous
blocks before anything is composed, because neighbours share a writer.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

from gndpo.data.rows import Row
from gndpo.data.warp import Augment, warp
from gndpo.errors import UserError
from gndpo.rng import generator

Digits = tuple[int, int, int, int]
"""Top left, top right, bottom left, bottom right."""


@dataclass(frozen=True)
class Kind:
    """A sort of question. words: what becomes of the digit at each place, in the question's words.
    step: (result so far, next digit, its place) -> result."""

    problem: str
    words: tuple[str, str, str, str]
    step: Callable[[int, int, int], int]


def signed(signs: Digits) -> Callable[[int, int, int], int]:
    """Add the digits up, each with the sign of its place."""
    return lambda so_far, digit, place: so_far + signs[place] * digit


KINDS: Mapping[str, Kind] = {
    "sum": Kind("what is the sum of the four digits ?", ("sum",) * 4, signed((1, 1, 1, 1))),
    "maximum": Kind(
        "what is the largest of the four digits ?",
        ("largest",) * 4,
        lambda so_far, digit, _: max(so_far, digit),
    ),
    "minimum": Kind(
        "what is the smallest of the four digits ?",
        ("smallest",) * 4,
        lambda so_far, digit, _: min(so_far, digit),
    ),
    "row_difference": Kind(
        "what is the sum of the top row minus the sum of the bottom row ?",
        ("sum", "sum", "minus", "minus"),
        signed((1, 1, -1, -1)),
    ),
    "column_difference": Kind(
        "what is the sum of the left column minus the sum of the right column ?",
        ("sum", "minus", "sum", "minus"),
        signed((1, -1, 1, -1)),
    ),
}
NUMBERS = range(-18, 37)
"""Every number that a solution can hold: from 0 - 18 to 4 * 9."""
PLACES = ("top left", "top right", "bottom left", "bottom right")
LANGUAGES = ("plain", "foreign")
FALSE_FRIENDS = (("largest", "smallest"), ("row", "column"), ("top", "left"), ("bottom", "right"))
"""Words that stand for each other in the foreign language."""


class Handwriting(NamedTuple):
    """images_N: [N, 8, 8] ink in 0..1. labels_N: the digits."""

    images_N: NDArray[np.float64]
    labels_N: NDArray[np.int64]


@cache
def handwriting() -> Handwriting:
    data = load_digits()
    return Handwriting(data.images / 16, data.target)


class DigitsRows:
    """Endless rows of one split; row i is a pure function of (split, seed, i).

    blocks: for every split the first image and the one after the last.
    language: of the question, "plain" or "foreign"; the field `translation` is the question in the
    other one.
    augment, images: for training rows only; images: how many of the block are seen, None is all.
    """

    endless = True

    def __init__(
        self,
        split: str,
        seed: int,
        *,
        blocks: Mapping[str, Sequence[int]],
        kinds: Sequence[str],
        augment: Augment | None,
        images: int | None,
        language: str,
    ) -> None:
        if language not in LANGUAGES:
            raise UserError(
                f"data.rows.language={language} is unknown; choose {' or '.join(LANGUAGES)}"
            )
        self.language = language
        self.split, self.seed = split, seed
        self.augment = augment if split == "train" else None
        self.start, self.stop = checked_block(split, blocks)
        if split == "train" and images is not None:
            self.stop = min(self.stop, self.start + images)
        if not kinds or set(kinds) - set(KINDS):
            raise UserError(
                f"data.rows.kinds: got {list(kinds)}, allowed are {', '.join(KINDS)}, at least one"
            )
        self.kinds = tuple(kinds)

    def __getitem__(self, index: int) -> Row:
        if index < 0:
            raise IndexError(f"row {index}: rows are counted from 0")
        draws = generator(self.seed, f"digits/{self.split}", row=index)
        kind = self.kinds[draws.integers(len(self.kinds))]
        chosen_4 = draws.integers(self.start, self.stop, 4)
        ink = handwriting()
        image = grid(warp(ink.images_N[chosen_4], self.augment, draws))
        a, b, c, d = (int(label) for label in ink.labels_N[chosen_4])
        return make_row(f"digits/{self.split}/{index}", kind, (a, b, c, d), image, self.language)


def checked_block(split: str, blocks: Mapping[str, Sequence[int]]) -> tuple[int, int]:
    """The split's block, once all blocks are known to be inside the data and to share no image."""
    if split not in blocks:
        raise UserError(f"unknown split {split!r}, data.rows.blocks has {', '.join(blocks)}")
    images = len(handwriting().labels_N)
    end = 0
    for name, (start, stop) in sorted(blocks.items(), key=lambda block: block[1][0]):
        if not end <= start < stop <= images:
            raise UserError(
                f"data.rows.blocks.{name}=[{start},{stop}]: "
                f"blocks must not be empty or overlap, within 0..{images}"
            )
        end = stop
    start, stop = blocks[split]
    return start, stop


def grid(tiles: NDArray[np.uint8]) -> Image.Image:
    """[4, 16, 16] grey tiles -> one 32x32 RGB image, row by row."""
    rows = tiles.reshape(2, 2, 16, 16).transpose(0, 2, 1, 3).reshape(32, 32)
    return Image.fromarray(rows).convert("RGB")


def make_row(name: str, kind: str, digits: Digits, image: Image.Image, language: str) -> Row:
    work = worked(kind, digits)
    answer = str(work[-1])
    plain = KINDS[kind].problem
    foreign = abroad(plain)
    problem, translation = (plain, foreign) if language == "plain" else (foreign, plain)
    return Row(
        name=name,
        images=[image],
        problem=problem,
        answer=answer,
        choices=[],
        solution=f"<think> {join(digits)} ; {join(work)} </think> \\boxed{{ {answer} }}",
        kind=kind,
        fields={
            "digits": join(digits),
            "gist": gist(kind, digits),
            "steps": steps(kind),
            "translation": translation,
        },
    )


def abroad(question: str) -> str:
    """In a toy language: the words from last to first, with false friends."""
    friends = {word: friend for a, b in FALSE_FRIENDS for word, friend in ((a, b), (b, a))}
    return " ".join(friends.get(word, word) for word in reversed(question.split()))


def steps(kind: str) -> str:
    """The question taken apart: place by place, what becomes of the digit there."""
    parts = zip(KINDS[kind].words, PLACES, strict=True)
    return " ; ".join(f"{word} {place}" for word, place in parts)


def gist(kind: str, digits: Digits) -> str:
    """The reasoning without what is not needed: running results of a largest or smallest digit."""
    work = worked(kind, digits)
    seen = join(digits)
    return seen if kind in ("maximum", "minimum") else f"{seen} ; {join(work)}"


def worked(kind: str, digits: Digits) -> list[int]:
    """The result after two, three and four digits, in reading order."""
    results = [digits[0]]
    for place in (1, 2, 3):
        results.append(KINDS[kind].step(results[-1], digits[place], place))
    return results[1:]


def join(numbers: Sequence[int]) -> str:
    return " ".join(map(str, numbers))
