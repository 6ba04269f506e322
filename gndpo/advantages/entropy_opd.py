"""Entropy-OPD: the log-ratio where the student is uncertain (a baseline of arXiv 2606.01249)."""

from gndpo.errors import UserError
from gndpo.scores import Scores
from gndpo.signal import Signal
from gndpo.stats import log_ratio, top_share


def entropy_opd(scores: Scores, *, share: float, scope: str) -> Signal:
    """A = R 1[H >= its (1 - share) quantile], R = log pi_T(y) - log pi_S(y), H the student's
    entropy, nats, the quantile over the student's tokens of the scope (step, group, sequence).

    H belongs to the state, not to the token drawn there, so in the chosen states the expected
    policy gradient is that of KL(pi_S || pi_T), and nothing in the others. share = 1 is raw_kl.
    """
    if not 0 < share <= 1:
        raise UserError(f"share={share} must be in (0, 1]")
    kept_BT = top_share(scores, scores.student.entropy_BT, share, scope)
    return Signal(log_ratio(scores) * kept_BT, notes={"kept": kept_BT.to(scores.uniform_BT.dtype)})
