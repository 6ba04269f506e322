"""Numbers that need the whole vocabulary: on a schedule and a sample of prompts, so that no
strategy pays for them."""

from collections.abc import Mapping

import torch
from torch import Tensor

from gndpo import ranks
from gndpo.pieces import Portion, portions, spares
from gndpo.prompts import Prompts
from gndpo.rollout import Answers
from gndpo.scoring import as_written
from gndpo.sources import Source, read


@torch.no_grad()
def vocabulary_metrics(
    views: Mapping[str, Source],
    prompts: Prompts,
    answers: Answers,
    here: range,
    portion: Portion,
) -> dict[str, float]:
    """Exact KL(student || teacher), both entropies and how often both prefer the same id, over
    the prompts `here` and those of the other ranks; the student's entropy alone where the teacher
    is served."""
    G, served = len(answers.ids_BT) // len(prompts), bool(views["teacher"].servers)
    own = list(portions(here.start, here.stop, portion, prompts.length_P, answers.length_B))
    sums = torch.zeros(5, dtype=torch.double, device=answers.ids_BT.device)
    for i, piece in enumerate([*own, *spares(len(own), G, portion)]):
        p = as_written(views["student"], prompts, piece, answers, portion.chunk)
        q = p if served else read(views["teacher"], prompts, piece, answers, portion.chunk)
        for part in p.chunks() if i < len(own) else ():
            sums += chunk_sums(p.log_probs(part), q.log_probs(part))
    entropy, kl, teacher_entropy, agreement, N = ranks.total(sums).tolist()
    if served:
        return {"policy/entropy": entropy / N}
    return {
        "policy/entropy": entropy / N,
        "teacher/kl": kl / N,
        "teacher/entropy": teacher_entropy / N,
        "teacher/top1_agreement": agreement / N,
    }


def chunk_sums(logp_nV: Tensor, logq_nV: Tensor) -> Tensor:
    """Summed over n tokens: both entropies with the KL between them, top-1 agreement, and 1."""
    p_nV = logp_nV.exp()
    values = (
        -(p_nV * logp_nV).sum(),
        (p_nV * (logp_nV - logq_nV)).sum(),
        -(logq_nV.exp() * logq_nV).sum(),
        logp_nV.argmax(-1).eq(logq_nV.argmax(-1)).sum(),
        torch.tensor(len(logp_nV)),
    )
    return torch.stack([value.double() for value in values])
