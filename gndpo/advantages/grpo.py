"""GRPO: reinforcement learning from the task reward alone, without a teacher."""

from gndpo.scores import Scores
from gndpo.signal import Signal


def grpo(scores: Scores, *, scale: bool, eps: float) -> Signal:
    """A = (r - mean) / (std + eps), r the reward of an answer, mean and unbiased std over the G
    answers of its prompt (arXiv 2402.03300); constant along the answer.

    scale=False leaves the std out (Dr. GRPO, arXiv 2503.20783): then the expected policy gradient
    is that of the mean reward, times 1 - 1/G because the mean holds the answer itself. With it,
    prompts weigh by 1/std of their own. The only answer of a prompt has nothing to be compared
    with: A = 0. In float64: the rounding of equal rewards must stay below eps.
    """
    r_B = scores.reward_B.double()
    same_BB = (scores.group_B[:, None] == scores.group_B).double()
    G_B = same_BB.sum(-1)
    mean_B = same_BB @ r_B / G_B
    A_B = r_B - mean_B
    if scale:
        squares_B = same_BB @ A_B.square()
        A_B = A_B / ((squares_B / (G_B - 1).clamp_min(1)).sqrt() + eps)
    return Signal(A_B[:, None].to(scores.behaviour_logp_BT.dtype) * scores.own_BT)
