"""GNDPO: clamp, then whiten over the whole step (arXiv 2606.09091; equations from the released
code)."""

from gndpo.scores import Scores
from gndpo.signal import Signal
from gndpo.stats import clamp_abs, log_ratio, moments


def gndpo(scores: Scores, *, clamp: float | None, centre: bool, scale: bool, eps: float) -> Signal:
    """d = clip(log pi_T(y) - log pi_S(y), -clamp, clamp);  A = (d - mu) / sqrt(s2 + eps).

    mu and s2 (unbiased) are taken over all valid answer tokens of the step. `centre` and `scale`
    switch the two halves of the whitening, so that the claim can be taken apart. The result is
    affine in clamped raw_kl: only the clamp changes the size of an outlier relative to its
    neighbours. A is not clipped afterwards.
    """
    d_BT = log_ratio(scores)
    A_BT = clamp_abs(d_BT, clamp)
    clamped_BT = (d_BT != A_BT).to(d_BT.dtype)
    mean, variance = moments(scores.pool(A_BT))
    if centre:
        A_BT = A_BT - mean
    if scale:
        A_BT = A_BT * (variance + eps).rsqrt()
    return Signal(A_BT * scores.mask_BT, notes={"clamped": clamped_BT})
