"""GNDPO: clamp, then whiten over the whole step (arXiv 2606.09091; equations from the released
code)."""

from gndpo.errors import UserError
from gndpo.scores import Scores
from gndpo.signal import Signal
from gndpo.stats import clamp_abs, log_ratio, moments


def gndpo(
    scores: Scores,
    *,
    clamp: float | None,
    centre: bool,
    scale: bool,
    scope: str | float,
    bessel: bool,
    eps: float,
    clamp_after: float | None,
) -> Signal:
    """d = clip(R, +-clamp), R = log pi_T(y) - log pi_S(y);  A = clip((d - mu) / sqrt(s2 + eps),
    +-clamp_after), d and clamp in nats, A and clamp_after in deviations.

    mu and s2 (over N - 1 with `bessel`) are taken over the student's tokens of the scope: "step"
    as released, "group", "sequence", or a decay in (0, 1): all steps so far, one of n steps ago
    counted decay^n times, mean and squares divided by the decayed count, so that nothing is
    biased towards 0 and the first step equals "step". A group or sequence of one token is not
    scaled. `centre` and `scale` switch the two halves, so that the claim can be taken apart.

    A is affine in the clamped R of its scope. Unclamped, its expected policy gradient is that of
    KL(pi_S || pi_T) / s, biased by the share that an answer has in its scope: mu and s hold the
    answer itself. Clamped, tokens beyond the limit count as if at it.
    """
    if scope != "step" and not (centre or scale):
        raise UserError(f"scope={scope} needs centre=true or scale=true; otherwise use scope=step")
    if not (bessel or scale):
        raise UserError("bessel=false needs scale=true; otherwise use bessel=true")
    R_BT = log_ratio(scores)
    d_BT = clamp_abs(R_BT, clamp)
    mean_BT, variance_BT, carry = moments(scores, d_BT, scope, bessel=bessel, eps=eps)
    A_BT = d_BT - mean_BT if centre else d_BT
    if scale:
        A_BT = A_BT * (variance_BT + eps).rsqrt()
    A_BT = clamp_abs(A_BT, clamp_after, "clamp_after") * scores.own_BT
    return Signal(A_BT, notes={"clamped": (d_BT != R_BT).to(d_BT.dtype)}, carry=carry)
