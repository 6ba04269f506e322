"""A divergence on a few likely ids instead of the whole vocabulary."""

import torch

from gndpo.errors import UserError
from gndpo.scores import Scores
from gndpo.signal import Match, Signal


def top_k_kl(
    scores: Scores,
    *,
    view: str,
    k: int,
    direction: str | float,
    renormalize_target: bool,
    renormalize_student: bool,
) -> Signal:
    """full_kl summed over the k likeliest ids of `view`, at every valid token, nats.

    Reverse on the student's 16, both renormalized: Rethinking OPD (arXiv 2604.13016) and TRB
    (2605.31159). Forward on the teacher's 64, the teacher renormalized: the baseline that collapses
    in TrOPD (2606.01249). Reverse without renormalization is the stop-gradient form sum p (sg[log
    p] - log q) of Many Faces (2605.11182): the plain form promotes a token only if q > e p. Both
    sides renormalized, nothing is said about how much mass the student has elsewhere; the
    student not, forward pulls even an equal student into the top k. k = V is full_kl.
    """
    if view not in ("student", "teacher"):
        raise UserError(f"view={view}: choose whose likeliest ids, student or teacher")
    zero_BT = torch.zeros_like(scores.student.logp_BT)
    match = Match(
        "teacher",
        scores.mask_BT.to(zero_BT.dtype),
        {"teacher": 1.0},
        direction,
        support=(view, k),
        renormalize=(renormalize_target, renormalize_student),
    )
    return Signal(zero_BT, (match,))
