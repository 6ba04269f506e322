"""Plain on-policy distillation: the log-ratio itself is the advantage."""

from gndpo.scores import Scores
from gndpo.signal import Signal
from gndpo.stats import clamp_abs, log_ratio


def raw_kl(scores: Scores, *, clamp: float | None) -> Signal:
    """A = log pi_T(y) - log pi_S(y), clipped to +-clamp (nats; None: not at all).

    Unclamped, its expected policy gradient is that of KL(pi_S || pi_T); clamped, a token beyond
    the limit counts as if at it. Unbounded below: a token that the teacher finds impossible can
    outweigh the batch. Source: Thinking Machines, "On-Policy Distillation" (2025); the baseline of
    arXiv 2606.09091, whose released code always clamps at 5.
    """
    d_BT = log_ratio(scores)
    A_BT = clamp_abs(d_BT, clamp)
    return Signal(A_BT, notes={"clamped": (d_BT != A_BT).to(d_BT.dtype)})
