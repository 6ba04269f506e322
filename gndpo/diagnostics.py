"""Numbers that need the whole vocabulary: on a schedule and a sample of prompts, so that no
strategy pays for them."""

from collections.abc import Mapping

import torch
from torch import Tensor

from gndpo.pieces import Portion, portions
from gndpo.prompts import Prompts
from gndpo.rollout import Answers
from gndpo.scoring import as_written
from gndpo.sources import Source, read


@torch.no_grad()
def vocabulary_metrics(
    views: Mapping[str, Source],
    prompts: Prompts,
    answers: Answers,
    count: int,
    portion: Portion,
) -> dict[str, float]:
    """Exact KL(student || teacher), both entropies and how often both prefer the same id, over
    the first `count` prompts."""
    count = min(count, len(prompts))
    G = len(answers.ids_BT) // len(prompts)
    sums = []
    for piece in portions(0, count, portion, prompts.length_P, answers.length_B):
        p = as_written(views["student"], prompts, piece, answers, portion.chunk)
        q = read(views["teacher"], prompts, piece, answers, portion.chunk)
        sums += [chunk_sums(p.log_probs(part), q.log_probs(part)) for part in p.chunks()]
    N = int(answers.mask_BT[: count * G].sum())
    entropy, kl, teacher_entropy, agreement = (torch.stack(sums).sum(0) / N).tolist()
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
