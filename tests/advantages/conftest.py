"""The golden vector that raw_kl and GNDPO share: five tokens, two of them outliers, and three of
padding."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, tensor

TEACHER = tensor([[-0.10, -2.00, -9.00, 7.0], [-0.50, -0.05, 3.0, -3.0]], dtype=torch.double)
STUDENT = tensor([[-0.30, -1.00, -0.50, 1.0], [-0.70, -4.00, 1.0, 2.0]], dtype=torch.double)
MASK = tensor([[1, 1, 1, 0], [1, 1, 0, 0]]).bool()


@pytest.fixture(scope="session")
def two_way() -> Callable[..., dict[str, Tensor]]:
    """Logits over two ids that give id 0 the wanted log-probability; garbage at padding."""

    def logits(logp_BT: Tensor) -> Tensor:
        rest_BT = torch.log1p(-logp_BT.exp())
        return torch.stack([logp_BT, rest_BT], -1).where(MASK[..., None], torch.nan)

    def batch(student: Tensor = STUDENT, teacher: Tensor = TEACHER) -> dict[str, Tensor]:
        return {
            "student": logits(student),
            "teacher": logits(teacher),
            "ids": torch.zeros(2, 4, dtype=torch.long),
            "mask": MASK,
        }

    return batch
