"""Numbers that need the whole vocabulary: on a schedule and a sample of prompts, so that no
strategy pays for them."""

import torch

from gndpo.policy import Policy
from gndpo.prompts import Prompts
from gndpo.rollout import Answers


@torch.no_grad()
def vocabulary_metrics(
    student: Policy, teacher: Policy, prompts: Prompts, answers: Answers, count: int
) -> dict[str, float]:
    """Exact KL(student || teacher), both entropies and how often both prefer the same id, over
    the first `count` prompts."""
    count = min(count, len(prompts))
    G = len(answers.ids_BT) // len(prompts)
    ids_bT, mask_bT = answers.ids_BT[: count * G], answers.mask_BT[: count * G]
    rendering = prompts.renderings["image"].select(0, count)
    logp_NV, logq_NV = (
        policy.head.log_probs(policy.hidden(rendering, ids_bT)[mask_bT])
        for policy in (student, teacher)
    )
    p_NV, q_NV = logp_NV.exp(), logq_NV.exp()
    return {
        "policy/entropy": float(-(p_NV * logp_NV).sum(-1).mean()),
        "teacher/kl": float((p_NV * (logp_NV - logq_NV)).sum(-1).mean()),
        "teacher/entropy": float(-(q_NV * logq_NV).sum(-1).mean()),
        "teacher/top1_agreement": float(logp_NV.argmax(-1).eq(logq_NV.argmax(-1)).float().mean()),
    }
