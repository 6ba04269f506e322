"""TrOPD: trust the log-ratio where the teacher would accept the token, other estimators outside,
imitation where somebody else wrote (arXiv 2606.01249)."""

from torch import Tensor

from gndpo.errors import UserError
from gndpo.pulls import top_k_forward, top_k_forward_value
from gndpo.scores import Scores
from gndpo.signal import Match, Signal
from gndpo.stats import log_ratio


def trust_region(
    scores: Scores,
    *,
    gate: str | float,
    k: int | None,
    scalar: bool,
    floor: float | None,
    beta: float,
) -> Signal:
    """Inside, A = R = log pi_T(y) - log pi_S(y), nats, with M ~ Bernoulli(min(pi_T/pi_S, 1)),
    speculative decoding's rule (it rejects a share TV(pi_S, pi_T)); or, gate a number, R > gate.

    Outside: A = max(R, floor), or 0; and, unless k is None, FKL_k, the forward KL to the teacher's
    k likeliest, renormalized. Tokens that others wrote: beta times -log pi_S. scalar, said to be
    the authors' code: neither is differentiated, A - FKL_k outside, and A = beta (log pi_S - log
    pi_T) at others' tokens, which pushes tokens that the student underrates DOWN.

    Biased by design: the policy gradient is sum_y min(pi_S, pi_T) R grad log pi_S, without its part
    (pi_S - pi_T)+ R grad log pi_S. A gate >= 0 rejects all that a student equal to its teacher
    writes, and pulls it into the top k.
    """
    if scalar and k is None:
        raise UserError("scalar=true makes an advantage of the top-k pull; it needs a number for k")
    R_BT = log_ratio(scores)
    accepted_BT = scores.own_BT & trusted(R_BT, scores.uniform_BT, gate)
    rejected_BT = (scores.own_BT & ~accepted_BT).to(R_BT.dtype)
    foreign_BT = (scores.mask_BT & ~scores.own_BT).to(R_BT.dtype)
    A_BT = R_BT * accepted_BT
    if floor is not None:
        A_BT = A_BT + rejected_BT * R_BT.clamp(min=floor)
    matches: tuple[Match, ...] = ()
    if scalar and k is not None:
        A_BT = A_BT - rejected_BT * top_k_forward_value(scores, k)
        A_BT = A_BT + beta * foreign_BT * (scores.student.logp_BT - scores.teacher.logp_BT)
    elif k is not None:
        matches += (top_k_forward("outlier", rejected_BT, k, renormalize=True),)
    if beta and not scalar:
        matches += (Match("guidance", beta * foreign_BT, {"sampled": 1.0}),)
    return Signal(A_BT, matches, notes={"accepted": accepted_BT.to(R_BT.dtype)})


def trusted(R_BT: Tensor, uniform_BT: Tensor, gate: str | float) -> Tensor:
    if gate == "bernoulli":
        return uniform_BT < R_BT.clamp(max=0).exp()
    if isinstance(gate, str):
        raise UserError(f"gate={gate} is unknown; choose bernoulli or a number in nats")
    return R_BT.gt(gate)
