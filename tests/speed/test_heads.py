"""The vocabulary is read in parts, with gradients by hand: equal to the plain path in value and
gradient."""

from functools import partial

import pytest
import torch
from two_heads import EVERY_BT, KINDS, B, N, T, V, World, ids_at_once

from gndpo.rows import Rows
from gndpo.sampled import logp_at
from gndpo.signal import Match, Signal
from gndpo.surrogates import gspo, reinforce

SEQUENCES = partial(gspo, clip_low=0.2, clip_high=0.2)


@pytest.fixture
def narrow(monkeypatch):
    ids_at_once(monkeypatch, 7)


def same(ours, plain, atol):
    for x, y in zip(ours, plain, strict=True):
        torch.testing.assert_close(x, y, atol=atol, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("chunk", [None, 1, 2])
@pytest.mark.parametrize(("dtype", "atol"), [(torch.double, 1e-12), (torch.float, 1e-5)])
def test_a_few_ids_are_what_a_log_softmax_gives(narrow, kind, chunk, dtype, atol):
    """Ids of every part, repeated ones and forbidden ones."""
    world = World(kind, dtype, chunk)
    current = world.current("student")
    rows, generator = current["student"], torch.Generator().manual_seed(2)
    ids_NK = torch.randint(V, (N, 6), generator=generator)
    g_NK = torch.rand(N, 6, generator=generator).to(dtype)
    ours_NK = logp_at(rows, ids_NK)
    plain_NK = rows.log_probs().gather(-1, ids_NK)
    allowed_NK = ~torch.isin(ids_NK, rows.head.forbidden_F)
    assert not allowed_NK.all()
    same([ours_NK[allowed_NK]], [plain_NK[allowed_NK]], atol)
    assert (ours_NK[~allowed_NK] < -1e8).all()
    sums = [(g_NK * x_NK).sum() for x_NK in (ours_NK, plain_NK)]
    same(*(world.gradients(total, current) for total in sums), atol)


def plain_divergence(logp_NV, logq_NV, direction, tau):
    """tau^2 D at temperature tau, by its definition."""
    logp_NV, logq_NV = ((x / tau).log_softmax(-1) for x in (logp_NV, logq_NV))
    p_NV, q_NV = logp_NV.exp(), logq_NV.exp()
    if direction == "reverse":
        return tau**2 * (p_NV * (logp_NV - logq_NV)).sum(-1)
    if direction == "forward":
        return tau**2 * (q_NV * (logq_NV - logp_NV)).sum(-1)
    m_NV = direction * q_NV + (1 - direction) * p_NV
    sides = ((direction, q_NV, logq_NV), (1 - direction, p_NV, logp_NV))
    logm_NV = m_NV.clamp_min(1e-300).log()
    return tau**2 * sum(b * (x * (logx - logm_NV)).sum(-1) for b, x, logx in sides)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("chunk", [None, 1, 5])
@pytest.mark.parametrize("direction", ["reverse", "forward", 0.3])
@pytest.mark.parametrize("surrogate", [None, reinforce, SEQUENCES])
def test_a_loss_is_what_autograd_gives(narrow, kind, chunk, direction, surrogate):
    """Two trained views, a target of one view and a mixture of three, tokens that do not count,
    with and without an advantage."""
    world = World(kind, chunk=chunk)
    scores, weight_BT = world.scores, world.weight_BT
    half_BT = (torch.arange(N) % 2).double().view(B, T)
    a_BT = scores.student.logp_BT
    mixture = {"teacher": 1.0, "student_text": a_BT, "teacher_text": -a_BT}
    matches = (
        Match("image", 1 + half_BT, mixture, direction, temperature=1.5),
        Match("text", half_BT, {"teacher_text": 1.0}, direction, view="student_text"),
    )
    advantage_BT = torch.zeros_like(a_BT) if surrogate is None else a_BT
    current = world.current("student", "student_text")
    ours = world.loss(current, Signal(advantage_BT, matches), surrogate or reinforce)
    logp = {name: rows.log_probs() for name, rows in current.items()}
    fixed = {name: rows.log_probs().detach() for name, rows in world.views.items()}
    a_N1 = a_BT.reshape(N, 1)
    mixed_NV = fixed["teacher"] + a_N1 * (fixed["student_text"] - fixed["teacher_text"])
    image_N = plain_divergence(logp["student"], mixed_NV, direction, 1.5)
    text_N = plain_divergence(logp["student_text"], fixed["teacher_text"], direction, 1.0)
    sampled_BT = logp["student"].gather(-1, scores.ids_BT.reshape(N, 1)).view(B, T)
    pull_BT = ((1 + half_BT).flatten() * image_N + half_BT.flatten() * text_N).view(B, T)
    loss_BT, _ = (surrogate or reinforce)(sampled_BT, a_BT, advantage_BT, scores.mask_BT)
    plain = (weight_BT * (loss_BT + pull_BT)).sum()
    torch.testing.assert_close(ours, plain, atol=1e-12, rtol=0)
    same(*(world.gradients(x, current) for x in (ours, plain)), 1e-12)


def test_a_frozen_head_and_states_without_gradient_get_none():
    """Low-rank matrices before the head: it has no gradient to give. A tower that alone trains:
    rows without image have none at all."""
    world = World()
    world.heads["student"].requires_grad_(False)
    mask_BT = EVERY_BT.double()
    signal = Signal(mask_BT, (Match("kl", mask_BT, {"teacher": 1.0}),))
    current = world.current("student")
    world.loss(current, signal).backward()
    assert current["student"].hidden_NH.grad.abs().min() > 0
    assert not world.loss({"student": world.views["student"]}, signal).requires_grad


def test_a_tied_head_gets_the_sum_of_both_gradients():
    """Its weights are also the embedding that the hidden states come from."""
    world = World()
    weight = world.heads["student"].linear.weight
    ids_N, mask_BT = torch.arange(N), EVERY_BT.double()
    signal = Signal(mask_BT * 0, (Match("kl", mask_BT, {"teacher": 1.0}),))
    found = []
    for plain in (False, True):
        rows = Rows(weight[ids_N].tanh(), world.heads["student"])
        total = world.loss({"student": rows}, signal)
        if plain:
            logq_NV = world.views["teacher"].log_probs()
            D_N = plain_divergence(rows.log_probs(), logq_NV, "reverse", 1.0)
            total = (world.weight_BT.flatten() * D_N).sum()
        found.append(torch.autograd.grad(total, weight))
    same(*found, 1e-12)


@pytest.mark.parametrize("sampled", [False, True])
def test_many_chunks_of_narrow_numbers_are_summed_in_float32(sampled):
    """1,200 equal tokens, one at a time: a sum in bfloat16 stops growing at a few hundred."""
    found = []
    for answers in (B, 100 * B):
        world = World(dtype=torch.bfloat16, chunk=1, answers=answers, equal=True)
        weight, ones_BT = world.heads["student"].linear.weight, torch.ones(answers, T)
        weight.grad_dtype = torch.float32  # as `Masters` sets it
        match = Match("kl", ones_BT, {"teacher": 1.0})
        signal = Signal(ones_BT) if sampled else Signal(0 * ones_BT, (match,))
        world.loss(world.current("student"), signal).backward()
        found.append(weight.grad / answers)
    assert found[0].dtype == torch.float32
    torch.testing.assert_close(found[1], found[0], atol=1e-5 * float(found[0].abs().max()), rtol=0)
