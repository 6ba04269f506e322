"""Counter-based randomness: every draw is a pure function of (seed, stream, step, row, column).

Philox (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011) keyed by (seed,
stream) with the counter at (row, step). No generator has state, so nothing has to be saved, and
a draw does not depend on batching, restarts or ranks.
"""

import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def generator(seed: int, stream: str, step: int = 0, row: int = 0) -> np.random.Generator:
    """The generator of one cell. `stream` names the use ("tokens", "gates", "digits/train",
    ...)."""
    key = np.array([seed, zlib.crc32(stream.encode())], dtype=np.uint64)
    counter = np.array([0, 0, row, step], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(counter=counter, key=key))


def uniform(
    seed: int, stream: str, step: int, rows: Sequence[int], width: int
) -> NDArray[np.float64]:
    """[len(rows), width] draws in [0, 1). Column t of a row is the same for every `width` > t."""
    return np.stack([generator(seed, stream, step, row).random(width) for row in rows])
