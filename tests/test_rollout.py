"""Sampling: the distribution it draws from, its edges, where answers end, and that what it reports
is what scoring finds."""

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch import nn

from gndpo.policy import Policy, Vocabulary
from gndpo.rng import uniform
from gndpo.rollout import Answers, generate, inverse_cdf
from gndpo.rows import NEVER

G, LIMIT = 8, 12


@pytest.fixture(scope="module")
def draws():
    return torch.from_numpy(uniform(0, "tokens", 0, range(3 * G), LIMIT))


@pytest.fixture(scope="module")
def answers(student, renderings, draws):
    return generate(student, renderings["image"], group=G, max_tokens=LIMIT, uniform_BT=draws)


def scored(policy, rendering, ids_BT):
    logp_BTV = policy.head.log_probs(policy.hidden(rendering, ids_BT))
    return logp_BTV.gather(-1, ids_BT[..., None])[..., 0].detach()


def test_inverse_cdf_draws_from_the_distribution():
    p_V = torch.tensor([0.02, 0.0, 0.3, 0.08, 0.25, 0.0, 0.35]).double()
    logp_V = p_V.log().clamp_min(NEVER)
    u = torch.from_numpy(uniform(1, "test", 0, [0], 20_000)[0])
    counts = torch.bincount(inverse_cdf(logp_V.expand(20_000, 7), u), minlength=7).numpy()
    drawn = p_V.numpy() > 0
    assert not counts[~drawn].any()
    assert chisquare(counts[drawn], 20_000 * p_V.numpy()[drawn]).pvalue > 0.01


@given(seed=st.integers(0, 1000), V=st.integers(1, 30), u=st.floats(0, 1, exclude_max=True))
def test_inverse_cdf_by_definition(seed, V, u):
    logits = 3 * torch.randn(V, generator=torch.Generator().manual_seed(seed)).double()
    logp_V = logits.log_softmax(-1)
    v = inverse_cdf(logp_V[None], torch.tensor([u], dtype=torch.double)).item()
    cdf = [0.0, *logp_V.exp().cumsum(0).tolist()]
    assert cdf[v] - 1e-9 <= u <= cdf[v + 1] + 1e-9


@pytest.mark.parametrize("dtype", [torch.float, torch.double])
@pytest.mark.parametrize("u", [0.0, 5e-324, 1 - 2**-53, np.nextafter(1, 0), 1.0])
def test_the_edges_of_the_interval_draw_ids_that_can_be_drawn(u, dtype):
    logp_V = torch.full((6,), NEVER)
    logp_V[[2, 3]] = math.log(0.5)
    u_B = torch.tensor([u], dtype=dtype)
    assert inverse_cdf(logp_V[None], u_B).item() == (2 if u < 0.5 else 3)


def test_answers_end_at_their_first_eos_which_counts(student, answers):
    T = answers.ids_BT.shape[1]
    ended, truncated = 0, 0
    for ids, n, cut in zip(answers.ids_BT, answers.length_B, answers.truncated_B, strict=True):
        is_eos = torch.isin(ids, torch.tensor(student.vocabulary.eos))
        assert not is_eos[: n - 1].any()
        assert is_eos[n - 1] == ~cut
        assert (ids[n:] == student.vocabulary.pad).all()
        assert not cut or n == LIMIT
        ended, truncated = ended + (n < T).item(), truncated + cut.item()
    assert ended > 0
    assert truncated > 0
    assert len(set(answers.ids_BT[answers.mask_BT].tolist())) > 15
    assert answers.mask_BT.sum(1).equal(answers.length_B)
    assert not answers.logp_BT[~answers.mask_BT].any()


def test_forbidden_ids_are_never_written(student, renderings, draws, answers):
    """Their head rows, and the rows beyond the tokenizer, do not matter to sampling."""
    vocabulary = student.vocabulary
    written = set(answers.ids_BT[answers.mask_BT].tolist())
    assert written.isdisjoint(vocabulary.forbidden)
    assert max(written) < vocabulary.size
    shifted = copy.deepcopy(student)
    bias = torch.zeros(48, dtype=torch.double)
    bias[[*vocabulary.forbidden, *range(vocabulary.size, 48)]] = 50
    shifted.head.linear.bias = nn.Parameter(bias)
    again = generate(shifted, renderings["image"], group=G, max_tokens=LIMIT, uniform_BT=draws)
    assert torch.equal(again.ids_BT, answers.ids_BT)
    torch.testing.assert_close(again.logp_BT, answers.logp_BT)


def test_generated_log_probabilities_are_the_scored_ones(student, renderings, answers):
    logp_BT = scored(student, renderings["image"], answers.ids_BT)
    mask_BT = answers.mask_BT
    torch.testing.assert_close(answers.logp_BT[mask_BT], logp_BT[mask_BT], atol=1e-5, rtol=0)


def test_a_step_draws_from_the_scored_distribution(student, renderings, draws, answers):
    """Every token is the inverse CDF of its own draw under a plain forward over the finished
    answer."""
    logp_BTV = student.head.log_probs(student.hidden(renderings["image"], answers.ids_BT)).detach()
    T = answers.ids_BT.shape[1]
    for t in range(T):
        alive_B = answers.mask_BT[:, t]
        again_B = inverse_cdf(logp_BTV[:, t], draws[:, t])
        assert torch.equal(again_B[alive_B], answers.ids_BT[alive_B, t])


def test_answers_do_not_depend_on_the_batch(student, renderings, draws, answers):
    """A prompt alone, with its rows' draws, gets the answers that it gets in the batch."""
    alone = generate(
        student,
        renderings["image"].select(slice(1, 2)),
        group=G,
        max_tokens=LIMIT,
        uniform_BT=draws[G : 2 * G],
    )
    assert torch.equal(alone.length_B, answers.length_B[G : 2 * G])
    T = alone.ids_BT.shape[1]
    assert torch.equal(alone.ids_BT, answers.ids_BT[G : 2 * G, :T])


def test_greedy_takes_the_likeliest_id(student, renderings):
    greedy = generate(student, renderings["image"], group=1, max_tokens=5, uniform_BT=None)
    logp_BTV = student.head.log_probs(student.hidden(renderings["image"], greedy.ids_BT))
    best_BT = logp_BTV.argmax(-1)
    assert torch.equal(best_BT[greedy.mask_BT], greedy.ids_BT[greedy.mask_BT])


def test_generation_stops_when_every_answer_has_ended(student, renderings, draws):
    """Every id an EOS: one token each, whatever the limit, and nothing is truncated."""
    ends = Policy(student.model, Vocabulary(size=42, eos=tuple(range(42)), pad=2, forbidden=(40,)))
    short = generate(ends, renderings["image"], group=G, max_tokens=LIMIT, uniform_BT=draws)
    assert short.ids_BT.shape == (3 * G, 1)
    assert not short.truncated_B.any()
    never = Policy(student.model, Vocabulary(size=42, eos=(47,), pad=2, forbidden=(40,)))
    long = generate(never, renderings["image"], group=G, max_tokens=3, uniform_BT=draws)
    assert long.ids_BT.shape == (3 * G, 3)
    assert long.truncated_B.all()
    assert long.length_B.eq(3).all()


def test_padding_that_is_an_eos_keeps_its_place_in_the_answer(student, renderings, draws):
    """Masks come from lengths: the first EOS counts though its id is the padding id."""
    policy = Policy(student.model, Vocabulary(size=42, eos=(2, 1, 3), pad=2, forbidden=(40, 41)))
    got = generate(policy, renderings["text"], group=G, max_tokens=LIMIT, uniform_BT=draws)
    ended_by_pad = (got.ids_BT.gather(1, got.length_B[:, None] - 1) == 2)[:, 0] & ~got.truncated_B
    assert ended_by_pad.any()
    assert got.mask_BT[ended_by_pad].sum(1).equal(got.length_B[ended_by_pad])
    assert (got.logp_BT[got.mask_BT] < 0).all()


def test_mask_of_answers():
    zeros = torch.zeros(2, 3)
    answers = Answers(zeros.long(), torch.tensor([1, 3]), zeros, torch.tensor([False, True]))
    assert answers.mask_BT.tolist() == [[True, False, False], [True, True, True]]
