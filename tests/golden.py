"""What several tests compare with: the vector of TrOPD and its neighbours, and how close is
close."""

from typing import Any

import torch
from torch import Tensor, tensor

LOGITS = {
    "student": tensor(
        [[[1.0, 0.5, 0.0, -0.5, -1.0], [0.0, 1.0, 0.5, 0.0, -1.0], [0.5, -1.0, 1.0, 0.0, 2.0]]]
    ).double(),
    "teacher": tensor(
        [[[2.0, 0.0, 0.5, -1.0, -2.0], [0.5, 1.0, 1.5, -1.0, 0.0], [2.0, 1.0, 0.0, 0.5, -3.0]]]
    ).double(),
}
"""Three tokens: R = 0.49182998, -0.41671070, -4.97546387; student entropy 1.39428496, 1.43590937,
1.20648921."""
BATCH = {"ids": tensor([[0, 1, 4]]), "mask": tensor([[1, 1, 1]])}


def close(actual: Tensor, expected: Any, atol: float = 1e-6) -> None:
    torch.testing.assert_close(
        actual, torch.as_tensor(expected, dtype=torch.double), atol=atol, rtol=0
    )
