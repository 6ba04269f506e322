"""Numbers that need the whole vocabulary: on a schedule and a sample of prompts, so that no
strategy pays for them."""

import torch
from torch import Tensor

from gndpo.prompts import Prompts
from gndpo.rollout import Answers
from gndpo.sources import Source, read

CHUNK = 4096
"""Tokens whose distributions exist at a time."""


@torch.no_grad()
def vocabulary_metrics(
    student: Source, teacher: Source, prompts: Prompts, answers: Answers, count: int
) -> dict[str, float]:
    """Exact KL(student || teacher), both entropies and how often both prefer the same id, over
    the first `count` prompts."""
    count = min(count, len(prompts))
    p, q = (read(source, prompts, 0, count, answers, CHUNK) for source in (student, teacher))
    N = int(answers.mask_BT[: count * len(answers.ids_BT) // len(prompts)].sum())
    sums = torch.stack([chunk_sums(p.log_probs(part), q.log_probs(part)) for part in p.chunks()])
    entropy, kl, teacher_entropy, agreement = (sums.sum(0) / N).tolist()
    return {
        "policy/entropy": entropy,
        "teacher/kl": kl,
        "teacher/entropy": teacher_entropy,
        "teacher/top1_agreement": agreement,
    }


def chunk_sums(logp_nV: Tensor, logq_nV: Tensor) -> Tensor:
    """Summed over n tokens: both entropies with the KL between them, and top-1 agreement."""
    p_nV = logp_nV.exp()
    values = (
        -(p_nV * logp_nV).sum(),
        (p_nV * (logp_nV - logq_nV)).sum(),
        -(logq_nV.exp() * logq_nV).sum(),
        logp_nV.argmax(-1).eq(logq_nV.argmax(-1)).sum(),
    )
    return torch.stack([value.double() for value in values])
