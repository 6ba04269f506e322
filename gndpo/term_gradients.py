"""The gradients of the three terms that VGS (arXiv 2606.00564) tells apart, over bins of the
student's own tokens by visual dependency: what `gndpo-angles` measures."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gndpo.data.rows import Row
from gndpo.errors import UserError
from gndpo.loss import Tokens, over_vocabulary
from gndpo.models.processor import Processor
from gndpo.pieces import Portion, portions
from gndpo.policy import Policy
from gndpo.prompts import Prompts, make_prompts
from gndpo.reads import dry_run
from gndpo.report.angles import TERMS, Measured
from gndpo.rng import uniform
from gndpo.rollout import Answers
from gndpo.rows import Rows
from gndpo.scores import Scores
from gndpo.scoring import score
from gndpo.signal import Match, Signal
from gndpo.sources import Source, read, write
from gndpo.surrogates import token_weights
from gndpo.teachers import Teachers, sources

ROUNDING = 1e-6
"""Nats: a divergence that stays below it is none."""


@dataclass(frozen=True)
class Models:
    """What is compared, and how much of it goes through at a time."""

    student: Policy
    teachers: Teachers
    processor: Processor
    max_tokens: int
    portion: Portion

    @property
    def sources(self) -> dict[str, Source]:
        return sources(Source.of(self.student), self.teachers.source)


def measure(
    models: Models, rows: Sequence[Row], *, group: int, bins: int, seed: int, repeat: int
) -> Measured:
    """The student answers every row `group` times; then the three gradients of every bin of tokens,
    and of all tokens, each answer averaged."""
    context, degrade = models.teachers.context, models.teachers.degrade
    prompts = make_prompts(rows, models.processor, context=context, degrade=degrade)
    draws = uniform(seed, "angles", repeat, range(len(rows) * group), models.max_tokens)
    answers = write(
        models.sources["student"],
        prompts,
        group=group,
        max_tokens=models.max_tokens,
        uniform_BT=torch.from_numpy(draws),
    )
    scores = score_all(models, prompts, answers)
    signal = three_terms(scores)
    refuse_nothing(scores, signal)
    visual_N = scores.pool(signal.notes["visual_dependency"])
    bin_N = equal_bins(visual_N, bins)
    grams = [
        gram(gradients(models, prompts, answers, scores, signal, weight_N))
        for weight_N in weightings(scores.mask_BT, bin_N, bins)
    ]
    return Measured(
        tokens_K=bin_N.bincount().tolist(),
        visual_K=[float(visual_N[bin_N == k].mean()) for k in range(bins)],
        bins_K33=torch.stack(grams[:-1]).numpy(),
        whole_33=grams[-1].numpy(),
    )


def score_all(models: Models, prompts: Prompts, answers: Answers) -> Scores:
    """What the three terms read, and nothing else."""
    views = score(
        models.sources,
        prompts,
        answers,
        dry_run(three_terms, models.student.vocabulary.size),
        models.portion,
    )
    B = len(answers.ids_BT)
    return Scores(
        ids_BT=answers.ids_BT,
        mask_BT=answers.mask_BT,
        views=views,
        author_BT=answers.author_BT,
        behaviour_logp_BT=answers.logp_BT,
        uniform_BT=torch.zeros_like(answers.logp_BT),
        group_B=torch.arange(B) // (B // len(prompts)),
        reward_B=answers.logp_BT.new_zeros(B),
    )


def three_terms(scores: Scores) -> Signal:
    """Language KL(p_x || q_x), visual KL(p_I || q*) and standard KL(p_I || q_I), p student, q
    teacher, _I with and _x without the image, q* = softmax(log p_x + log q_I - log q_x)."""
    zero_BT = torch.zeros_like(scores.student.logp_BT)
    mask_BT = scores.mask_BT.to(zero_BT.dtype)
    star = {"teacher": 1.0, "student_text": 1.0, "teacher_text": -1.0}
    matches = (
        Match("language", mask_BT, {"teacher_text": 1.0}, view="student_text"),
        Match("visual", mask_BT, star),
        Match("standard", mask_BT, {"teacher": 1.0}),
    )
    notes = {
        "visual_dependency": scores.teacher.kl("teacher_text"),
        "distance": scores.student.kl("teacher"),
    }
    return Signal(zero_BT, matches, notes)


def refuse_nothing(scores: Scores, signal: Signal) -> None:
    """Angles of vectors that are only rounding error mean nothing."""
    if scores.pool(signal.notes["visual_dependency"]).max() < ROUNDING:
        raise UserError(
            "the teacher says the same with and without the image, so no token depends on it; "
            "gndpo-angles needs a teacher that sees and rows with images"
        )
    if scores.pool(signal.notes["distance"]).max() < ROUNDING:
        raise UserError(
            "student and teacher agree on every token, so there is no gradient; "
            "use another checkpoint, or a run with another teacher"
        )


def equal_bins(x_N: Tensor, bins: int) -> Tensor:
    """Which of `bins` bins of equally many tokens (plus or minus one) a token is in, 0 the one of
    the smallest values."""
    N = len(x_N)
    if bins > N:
        raise UserError(
            f"{N} tokens are too few for bins={bins}; use fewer bins or more prompts per repeat"
        )
    bin_N = torch.empty(N, dtype=torch.long, device=x_N.device)
    bin_N[x_N.argsort(stable=True)] = torch.arange(N, device=x_N.device) * bins // N
    return bin_N


def weightings(mask_BT: Tensor, bin_N: Tensor, bins: int) -> list[Tensor]:
    """What a token counts, [N]: 1 in its bin, for every bin; last, 1 / (B T_i) in the whole batch,
    the mean over answers of the mean over an answer's tokens."""
    whole_N = token_weights(mask_BT, "sequence_mean_token_mean")[mask_BT]
    return [*((bin_N == k).double() for k in range(bins)), whole_N]


def gradients(
    models: Models,
    prompts: Prompts,
    answers: Answers,
    scores: Scores,
    signal: Signal,
    weight_N: Tensor,
) -> list[list[Tensor]]:
    """Of sum_N weight * term for every term of TERMS, parameter by parameter: what the student
    trains. Three gradients exist at a time, whatever the number of bins."""
    parameters = [p for p in models.student.parameters() if p.requires_grad]
    found = {name: [torch.zeros_like(p) for p in parameters] for name in TERMS}
    for piece in portions(0, len(prompts), models.portion, prompts.length_P, answers.length_B):
        index_n = piece.tokens(scores.mask_BT)
        for view in ("student", "student_text"):
            matches = [match for match in signal.matches if match.view == view]
            rows = read(models.sources[view], prompts, piece, answers, models.portion.chunk)
            assert isinstance(rows, Rows)
            weight_n = weight_N[index_n].to(scores.student.logp_BT.dtype)
            tokens = Tokens(scores, index_n, weight_n)
            for match in matches:
                total = over_vocabulary(rows, [match], tokens).total
                parts = torch.autograd.grad(
                    total, parameters, retain_graph=True, materialize_grads=True
                )
                for sum_so_far, part in zip(found[match.name], parts, strict=True):
                    sum_so_far += part
    return [found[name] for name in TERMS]


def gram(vectors: Sequence[Sequence[Tensor]]) -> Tensor:
    """All inner products of vectors that are given parameter by parameter, [3, 3], double."""
    total = torch.zeros(len(vectors), len(vectors), dtype=torch.double)
    for parts in zip(*vectors, strict=True):
        flat = torch.stack([part.flatten() for part in parts]).double()
        total += (flat @ flat.T).cpu()
    return total
