"""VGS on sampled tokens: four log-probabilities instead of four distributions."""

from gndpo.scores import Scores
from gndpo.signal import Signal
from gndpo.stats import clamp_abs, log_ratio


def decomposed_sampled(scores: Scores, *, gamma: float, eta: float, clamp: float | None) -> Signal:
    """A = eta (1 + gamma) d,  d = clip(log q_I(y) - log p_I(y) + gamma / (1 + gamma) (log p_x(y) -
    log q_x(y)), +-clamp), nats; p student, q teacher, _I with and _x without the image.

    As a policy gradient its expectation is minus the gradient of eta (1 + gamma) KL(p_I || m), the
    target m of `decomposed`: d lacks only log Z_m, which no token of the vocabulary changes. A
    clamp (null: none) biases it. gamma = 0, eta = 1 is raw_kl. Ours; the paper (arXiv 2606.00564)
    trains on whole distributions. There is no language preservation here.
    """
    prior = gamma / (1 + gamma)
    text_BT = scores.student_text.logp_BT - scores.teacher_text.logp_BT
    d_BT = log_ratio(scores) + prior * text_BT * scores.own_BT
    clamped_BT = clamp_abs(d_BT, clamp)
    notes = {"clamped": (d_BT != clamped_BT).to(d_BT.dtype)}
    return Signal(eta * (1 + gamma) * clamped_BT, notes=notes)
