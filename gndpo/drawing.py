"""From distributions to tokens: the inverse CDF, and a blend of two policies."""

import torch
from torch import Tensor
from torch.nn import functional as F

BLOCK = 512
"""Ids that are summed up first where there are more."""


def drawn(logp_BV: Tensor, uniform_B: Tensor | None) -> tuple[Tensor, Tensor]:
    """The ids that uniforms draw (None: the likeliest), and their log-probabilities."""
    id_B = logp_BV.argmax(-1) if uniform_B is None else inverse_cdf(logp_BV, uniform_B)
    return id_B, logp_BV.gather(-1, id_B[:, None])[:, 0]


def inverse_cdf(logp_BV: Tensor, uniform_B: Tensor) -> Tensor:
    """The first id whose cumulative probability exceeds u: of many ids the block first, then the id
    in what u leaves of it. An id of probability 0 is never drawn. Where weights have overflowed and
    all is NaN, the last id: the update's guard drops that step."""
    p_BV, share_B1, V = logp_BV.exp(), uniform_B.double()[:, None], logp_BV.shape[1]
    if V <= BLOCK:
        return reached(p_BV, share_B1)[0][:, 0]
    blocks_BNK = F.pad(p_BV, (0, -V % BLOCK)).view(len(p_BV), -1, BLOCK)
    block_B1, share_B1 = reached(blocks_BNK.sum(-1), share_B1)
    inside_B1, _ = reached(blocks_BNK.take_along_dim(block_B1[..., None], 1)[:, 0], share_B1)
    return (BLOCK * block_B1 + inside_B1)[:, 0].clamp_max(V - 1)


def reached(p_BN: Tensor, share_B1: Tensor) -> tuple[Tensor, Tensor]:
    """Where this share of all that p sums up to is reached, and which share of that item it
    takes."""
    cdf_BN = p_BN.cumsum(-1, dtype=torch.double)
    sum_B1 = share_B1.clamp(0, 1 - 2**-40) * cdf_BN[:, -1:]
    item_B1 = torch.searchsorted(cdf_BN, sum_B1, right=True).clamp_max(p_BN.shape[1] - 1)
    return item_B1, 1 - (cdf_BN.gather(1, item_B1) - sum_B1) / p_BN.gather(1, item_B1)


def blend(logp_BV: Tensor, guide_BV: Tensor, budget: float, halvings: int = 30) -> Tensor:
    """log mu, mu proportional to p^(1-beta) q^beta with the largest beta in [0, 1] for which
    KL(mu || p) <= budget, nats; by bisection, since that KL grows with beta."""
    low_B1 = torch.zeros_like(logp_BV[:, :1])
    high_B1 = torch.ones_like(low_B1)
    fits_B1 = divergence_of(blended(logp_BV, guide_BV, high_B1), logp_BV) <= budget
    for _ in range(halvings):
        middle_B1 = (low_B1 + high_B1) / 2
        small_B1 = divergence_of(blended(logp_BV, guide_BV, middle_B1), logp_BV) <= budget
        low_B1 = middle_B1.where(small_B1, low_B1)
        high_B1 = high_B1.where(small_B1, middle_B1)
    return blended(logp_BV, guide_BV, torch.ones_like(low_B1).where(fits_B1, low_B1))


def blended(logp_BV: Tensor, guide_BV: Tensor, beta_B1: Tensor) -> Tensor:
    return torch.lerp(logp_BV, guide_BV, beta_B1).log_softmax(-1)


def divergence_of(logm_BV: Tensor, logp_BV: Tensor) -> Tensor:
    """KL(mu || p), nats, [B, 1]."""
    return (logm_BV.exp() * (logm_BV - logp_BV)).sum(-1, keepdim=True)
