"""The student answers: G answers per prompt, tokens drawn by inverse CDF from counter-based
uniforms."""

from dataclasses import dataclass

import torch
from torch import Tensor

from gndpo.policy import Policy
from gndpo.prompts import Rendering


@dataclass(frozen=True)
class Answers:
    """B answers, right-padded to T. ids_BT ends with its EOS, which counts; truncated_B: no EOS
    within the limit. logp_BT: log-probability, in nats, under the policy that sampled (the
    behaviour policy), 0 at padding."""

    ids_BT: Tensor
    length_B: Tensor
    logp_BT: Tensor
    truncated_B: Tensor

    @property
    def mask_BT(self) -> Tensor:
        T = self.ids_BT.shape[1]
        return torch.arange(T, device=self.ids_BT.device) < self.length_B[:, None]


@torch.no_grad()
def generate(
    policy: Policy, rendering: Rendering, *, group: int, max_tokens: int, uniform_BT: Tensor | None
) -> Answers:
    """Answer each prompt `group` times. `uniform_BT` [B, max_tokens] draws the tokens; None is
    greedy.

    Stops early when every answer has ended, so T is the length of the longest one.
    """
    prefix = policy.encode(rendering).repeat(group)
    hidden_BH = prefix.last_BH
    eos = torch.tensor(policy.vocabulary.eos, device=hidden_BH.device)
    alive_B = torch.ones(len(hidden_BH), dtype=torch.bool, device=hidden_BH.device)
    length_B = torch.zeros_like(alive_B, dtype=torch.long)
    ids: list[Tensor] = []
    logps: list[Tensor] = []
    for t in range(max_tokens):
        logp_BV = policy.head.log_probs(hidden_BH)
        id_B = logp_BV.argmax(-1) if uniform_BT is None else inverse_cdf(logp_BV, uniform_BT[:, t])
        logp_B = logp_BV.gather(-1, id_B[:, None])[:, 0]
        ids.append(id_B.where(alive_B, torch.full_like(id_B, policy.vocabulary.pad)))
        logps.append(logp_B.where(alive_B, torch.zeros_like(logp_B)))
        length_B += alive_B
        alive_B = alive_B & ~torch.isin(id_B, eos)
        if not alive_B.any() or t + 1 == max_tokens:
            break
        hidden_BH = policy.advance(prefix, ids[-1][:, None], written=t)[:, 0]
    return Answers(torch.stack(ids, 1), length_B, torch.stack(logps, 1), alive_B)


def inverse_cdf(logp_BV: Tensor, uniform_B: Tensor) -> Tensor:
    """The first id whose cumulative probability exceeds u. An id of probability 0 is never drawn.
    Where weights have overflowed and all is NaN, the last id: the update's guard drops that step.
    """
    cdf_BV = logp_BV.double().exp().cumsum(-1)
    u_B1 = uniform_B.double().clamp(max=1 - 2**-40)[:, None] * cdf_BV[:, -1:]
    return torch.searchsorted(cdf_BV, u_B1, right=True)[:, 0].clamp_max(logp_BV.shape[-1] - 1)
