"""How far the sampler was from the student that is scored."""

import pytest
import torch
from torch import tensor

from gndpo.metrics import score_metrics
from gndpo.scores import Scores


def test_the_gap_is_the_largest_difference_of_a_token_that_the_student_wrote() -> None:
    """Uniform over two ids: log old = -log 2. The third token is the teacher's, the last one is
    padding."""
    off = tensor([[0.0, -0.25, 3.0, 9.0]], dtype=torch.double)
    uniform = torch.zeros(1, 4, 2, dtype=torch.double)
    scores = Scores.from_logits(
        student=uniform,
        teacher=uniform,
        ids=torch.zeros(1, 4, dtype=torch.long),
        mask=tensor([[1, 1, 1, 0]]),
        author=tensor([[0, 0, 1, 0]]),
        behaviour_logp=off - torch.log(tensor(2.0, dtype=torch.double)),
    )
    found = score_metrics(scores)
    assert found["policy/behaviour_gap"] == pytest.approx(0.25, abs=1e-7)
    assert found["policy/kl_behaviour"] == pytest.approx(-0.125, abs=1e-7)
