"""Handwriting, moved a little: random affine maps, elastic bends and ink."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SIZE = 16
"""Side of a tile in pixels; the source is 8x8."""
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Augment:
    """Half-widths of uniform draws, one draw per tile.

    shift: pixels of the 8x8 image. turn: degrees. scale, shear: fractions.
    bend: standard deviation of the displacement at a 4x4 net of points, in half tile sides.
    fade: largest part of the contrast lost. gamma: log of the exponent on the ink.
    """

    shift: float
    turn: float
    scale: float
    shear: float
    bend: float
    fade: float
    gamma: float


def hat_weights(points: int) -> Floats:
    """[SIZE, points]: linear interpolation from nodes spread over the side to its pixels."""
    at_S = np.linspace(0, points - 1, SIZE)
    weights: Floats = np.clip(1 - np.abs(at_S[:, None] - np.arange(points)), 0, None)
    return weights


AXIS = (np.arange(SIZE) + 0.5) * 2 / SIZE - 1
"""Pixel centres of a tile along one side, in -1..1."""
NET = hat_weights(4)


def warp(ink: Floats, augment: Augment | None, draws: np.random.Generator) -> NDArray[np.uint8]:
    """[N, 8, 8] ink in 0..1 -> [N, SIZE, SIZE] grey values, black ground."""
    y, x = (
        np.broadcast_to(AXIS[:, None], (len(ink), SIZE, SIZE)),
        np.broadcast_to(AXIS, (len(ink), SIZE, SIZE)),
    )
    if augment is None:
        return to_grey(sample(ink, y, x))
    unit = draws.uniform(-1, 1, (8, len(ink), 1, 1))
    turn = np.deg2rad(augment.turn) * unit[0]
    cos, sin = np.cos(turn), np.sin(turn)
    height, width = 1 + augment.scale * unit[1:3]
    down, right = augment.shift / 4 * unit[4:6]
    bend = draws.normal(0, augment.bend, (2, len(ink), 4, 4))
    bend_y, bend_x = NET @ bend @ NET.T
    slant = augment.shear * unit[3]
    bent = sample(
        ink,
        sin * x + cos * height * y + down + bend_y,
        cos * width * x + (slant - sin) * y + right + bend_x,
    )
    return to_grey(bent ** np.exp(augment.gamma * unit[6]) * (1 - augment.fade * (unit[7] + 1) / 2))


def sample(ink: Floats, y: Floats, x: Floats) -> Floats:
    """Bilinear values of [N, 8, 8] at coordinates in -1..1; outside there is no ink."""
    side = ink.shape[1]
    padded = np.pad(ink, ((0, 0), (1, 2), (1, 2)))
    row, column = (np.clip((at + 1) * side / 2 + 0.5, 0, side + 1) for at in (y, x))
    r, c = row.astype(np.int64), column.astype(np.int64)
    n = np.arange(len(ink))[:, None, None]
    v, h = row - r, column - c
    top = padded[n, r, c] * (1 - h) + padded[n, r, c + 1] * h
    bottom = padded[n, r + 1, c] * (1 - h) + padded[n, r + 1, c + 1] * h
    value: Floats = top * (1 - v) + bottom * v
    return value


def to_grey(ink: Floats) -> NDArray[np.uint8]:
    return np.rint(np.clip(ink, 0, 1) * 255).astype(np.uint8)
