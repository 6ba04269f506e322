"""Questions about four handwritten digits, composed on the fly from scikit-learn's bundled 8x8 images.

The 1797 images (the test part of UCI's optdigits: 13 writers, none marked) are cut into contiguous blocks before anything
is composed, because neighbours share a writer. The blocks are "unseen images", and mostly unseen writers.
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
    """A sort of question. work: two intermediate results, then the answer."""

    problem: str
    work: Callable[[Digits], tuple[int, int, int]]


def total(d: Digits) -> tuple[int, int, int]:
    return d[0] + d[1], d[2] + d[3], sum(d)


def row_difference(d: Digits) -> tuple[int, int, int]:
    top, bottom = d[0] + d[1], d[2] + d[3]
    return top, bottom, top - bottom


def column_difference(d: Digits) -> tuple[int, int, int]:
    left, right = d[0] + d[2], d[1] + d[3]
    return left, right, left - right


def largest(d: Digits) -> tuple[int, int, int]:
    return max(d[:2]), max(d[2:]), max(d)


def smallest(d: Digits) -> tuple[int, int, int]:
    return min(d[:2]), min(d[2:]), min(d)


KINDS: Mapping[str, Kind] = {
    "sum": Kind("what is the sum of the four digits ?", total),
    "maximum": Kind("what is the largest of the four digits ?", largest),
    "minimum": Kind("what is the smallest of the four digits ?", smallest),
    "row_difference": Kind("what is the sum of the top row minus the sum of the bottom row ?", row_difference),
    "column_difference": Kind(
        "what is the sum of the left column minus the sum of the right column ?", column_difference
    ),
}
NUMBERS = range(-18, 37)
"""Every number that a solution can hold: from 0 - 18 to 4 * 9."""


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

    blocks: for every split the first image and the one after the last. augment: for training rows only.
    """

    def __init__(
        self,
        split: str,
        seed: int,
        *,
        blocks: Mapping[str, Sequence[int]],
        kinds: Sequence[str],
        augment: Augment | None,
    ) -> None:
        self.split, self.seed = split, seed
        self.augment = augment if split == "train" else None
        self.start, self.stop = checked_block(split, blocks)
        if not kinds or set(kinds) - set(KINDS):
            raise UserError(f"data.kinds: got {list(kinds)}, allowed are {', '.join(KINDS)}, at least one")
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
        return make_row(kind, (a, b, c, d), image)


def checked_block(split: str, blocks: Mapping[str, Sequence[int]]) -> tuple[int, int]:
    """The split's block, once all blocks are known to be inside the data and to share no image."""
    if split not in blocks:
        raise UserError(f"unknown split {split!r}, data.blocks has {', '.join(blocks)}")
    images = len(handwriting().labels_N)
    end = 0
    for name, (start, stop) in sorted(blocks.items(), key=lambda block: block[1][0]):
        if not end <= start < stop <= images:
            raise UserError(
                f"data.blocks.{name}=[{start},{stop}]: blocks must not be empty or overlap, within 0..{images}"
            )
        end = stop
    start, stop = blocks[split]
    return start, stop


def grid(tiles: NDArray[np.uint8]) -> Image.Image:
    """[4, 16, 16] grey tiles -> one 32x32 RGB image, row by row."""
    rows = tiles.reshape(2, 2, 16, 16).transpose(0, 2, 1, 3).reshape(32, 32)
    return Image.fromarray(rows).convert("RGB")


def make_row(kind: str, digits: Digits, image: Image.Image) -> Row:
    work = KINDS[kind].work(digits)
    answer = str(work[-1])
    return Row(
        images=[image],
        problem=KINDS[kind].problem,
        answer=answer,
        solution=f"<think> {join(digits)} ; {join(work)} </think> \\boxed{{ {answer} }}",
        kind=kind,
    )


def join(numbers: Sequence[int]) -> str:
    return " ".join(map(str, numbers))
