"""REOPOLD: a floor under the log-ratio, and two stages (arXiv 2603.11137)."""

from torch import Tensor

from gndpo.errors import UserError
from gndpo.scores import Scores
from gndpo.signal import Signal
from gndpo.stats import log_ratio, top_share


def reopold(scores: Scores, *, floor: float, switch: float | None, keep: float | None) -> Signal:
    """A = M max(R, floor) N / sum M, R = log pi_T(y) - log pi_S(y) and floor in nats (eqs. 7, 8).

    N valid tokens: with a token mean the loss is divided by sum M, as in the paper's objective.
    Exploration, the first `switch` of the steps: M = 1[R >= floor]. Refinement, the others: M =
    1 where the student's entropy is among the highest `keep` of the step's. switch = keep = None:
    M = 1, the floor alone. Biased where R < floor: such tokens are pushed down by -floor only,
    during exploration not at all. Elsewhere, and in the choice by entropy, the expected policy
    gradient is that of KL(pi_S || pi_T).
    """
    if not floor < 0:
        raise UserError(f"floor={floor} must be smaller than 0, the log-ratio of a teacher reached")
    R_BT = log_ratio(scores)
    floored_BT = R_BT.lt(floor)
    kept_BT = kept(scores, floored_BT, switch, keep).to(R_BT.dtype)
    kept_N = scores.pool(kept_BT)
    A_BT = R_BT.clamp(min=floor) * kept_BT * (len(kept_N) / kept_N.sum().clamp_min(1))
    return Signal(A_BT, notes={"kept": kept_BT, "floored": floored_BT.to(R_BT.dtype)})


def kept(scores: Scores, floored_BT: Tensor, switch: float | None, keep: float | None) -> Tensor:
    """M of this step, bool [B, T]. The entropy is read in both stages: a dry run sees but one."""
    if switch is None and keep is None:
        return scores.own_BT
    if switch is None or keep is None or not (0 <= switch <= 1 and 0 < keep <= 1):
        raise UserError(
            f"switch={switch} and keep={keep}: choose switch in [0, 1] and keep in (0, 1], or null "
            "for both"
        )
    uncertain_BT = top_share(scores, scores.student.entropy_BT, keep, "step")
    exploring = scores.step < switch * scores.steps
    return scores.own_BT & ~floored_BT if exploring else uncertain_BT
