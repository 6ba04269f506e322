"""The vocabulary is read in parts, with gradients by hand: equal to the plain path in value and
gradient, and nothing is made twice."""

from collections import Counter
from functools import partial

import pytest
import torch
from meters import peak
from torch import nn

from gndpo.heads import Head
from gndpo.loss import answer_loss
from gndpo.models.vocabulary import Vocabulary
from gndpo.pieces import Piece
from gndpo.rows import ALL, Rows, wide
from gndpo.sampled import logp_at
from gndpo.scores import Scores
from gndpo.signal import Match, Signal
from gndpo.surrogates import gspo, reinforce
from gndpo.views import make_views

V, H, B, T = 23, 5, 4, 3
N = B * T
IDS_BT = torch.randint(1, 9, (B, T), generator=torch.Generator().manual_seed(0))
EVERY_BT = torch.ones(B, T, dtype=torch.bool)
SEQUENCES = partial(gspo, clip_low=0.2, clip_high=0.2)
KINDS = {
    "plain": {},
    "bias": {"bias": True},
    "warm": {"temperature": 0.7},
    "capped": {"softcap": 3.0, "bias": True, "temperature": 2.0},
}


def head_of(seed, ids, dtype, width, *, bias=False, temperature=1.0, softcap=None):
    """Two rows of weights lie beyond the tokenizer's ids."""
    torch.manual_seed(seed)
    vocabulary = Vocabulary(size=ids, eos=(1,), pad=0, forbidden=(21, 0, 9))
    linear = nn.Linear(width, ids + 2, bias=bias, dtype=dtype)
    return Head(linear, vocabulary, temperature, softcap)


def hidden_of(seed, n, dtype, width, equal):
    generator = torch.Generator().manual_seed(seed)
    hidden_nH = torch.randn(n, width, generator=generator, dtype=torch.double).to(dtype)
    return hidden_nH[:1].repeat(n, 1) if equal else hidden_nH


@pytest.fixture
def width(monkeypatch):
    """width(7): so many ids at a time."""

    def change(ids):
        for module in ("gndpo.sampled", "gndpo.loss"):
            monkeypatch.setattr(f"{module}.WIDTH", ids)

    return change


@pytest.fixture
def narrow(width):
    width(7)


class World:
    """A student and a teacher of another width, the views that a strategy may read, and a trained
    student."""

    def __init__(self, kind="plain", dtype=torch.double, chunk=None, answers=B, ids=V, equal=False):
        student, teacher = (
            head_of(seed, ids, dtype, width, **KINDS[kind]) for seed, width in enumerate((H, 7))
        )
        self.heads = {"student": student, "teacher": teacher.requires_grad_(False)}
        n = answers * T
        self.views = {
            name: Rows(hidden_of(seed, n, dtype, width, equal), self.heads[who], chunk)
            for seed, (name, who, width) in enumerate(
                [
                    ("student", "student", H),
                    ("student_text", "student", H),
                    ("teacher", "teacher", 7),
                    ("teacher_text", "teacher", 7),
                ]
            )
        }
        ids_BT = IDS_BT.repeat(answers // B, 1)
        mask_BT = torch.ones_like(ids_BT).bool()
        zeros_BT = torch.zeros(ids_BT.shape, dtype=wide(dtype))
        with torch.no_grad():
            self.scores = Scores(
                ids_BT=ids_BT,
                mask_BT=mask_BT,
                views=make_views(ids_BT, mask_BT, self.views),
                author_BT=zeros_BT.long(),
                behaviour_logp_BT=zeros_BT,
                uniform_BT=zeros_BT,
                group_B=torch.arange(answers),
                reward_B=zeros_BT[:, 0],
            )
            _ = self.scores.student.logp_BT
        generator = torch.Generator().manual_seed(3)
        self.weight_BT = torch.rand(ids_BT.shape, generator=generator).to(wide(dtype))
        if equal:
            self.weight_BT[:], ids_BT[:] = 1, 5

    def current(self, *names):
        """The trained views, their hidden states leaves."""
        rows = {name: self.views[name] for name in names}
        return {
            name: Rows(x.hidden_NH.clone().requires_grad_(), x.head, x.chunk)
            for name, x in rows.items()
        }

    def loss(self, current, signal, surrogate=reinforce):
        every = torch.arange(len(self.scores.ids_BT))
        piece = Piece(every, every)
        return answer_loss(current, self.scores, signal, surrogate, self.weight_BT, piece).total

    def gradients(self, total, current):
        inputs = [rows.hidden_NH for rows in current.values()]
        inputs += [p for p in self.heads["student"].parameters() if p.requires_grad]
        return torch.autograd.grad(total, inputs)


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


@pytest.fixture
def made(monkeypatch):
    """Numbers of logits that were made, by head, in units of its N * V."""
    counts = Counter()
    logits = Head.logits

    def counting(self, hidden_NH, ids=ALL):
        out = logits(self, hidden_NH, ids)
        counts[self.linear.in_features] += out.numel() / (N * V)
        return out

    monkeypatch.setattr(Head, "logits", counting)
    return counts


STUDENT, TEACHER = H, 7


@pytest.mark.parametrize("chunk", [None, 5])
@pytest.mark.parametrize(
    ("name", "knobs", "student", "teacher"),
    [
        ("raw_kl", {}, 2, 0),  # once more in the backward pass
        ("full_kl", {}, 1, 1),
        ("full_kl", {"direction": 0.5}, 1, 1),
        ("trust_region", {"k": 3}, 2, 0),  # sampled tokens, outliers and guidance together
        ("sft", {}, 2, 0),
        ("language_steering", {"lam": 0.0, "gamma": 0.0}, 2, 2),  # the target's student, too
    ],
)
def test_an_update_makes_every_logit_once(
    make_strategy, made, narrow, chunk, name, knobs, student, teacher
):
    world = World(chunk=chunk)
    signal = make_strategy(name, **knobs)(world.scores)
    current = world.current("student")
    world.loss(current, signal)  # what scoring finds out is known now
    made.clear()
    world.loss(current, signal).backward()
    assert made[STUDENT] == pytest.approx(student)
    assert made[TEACHER] == pytest.approx(teacher)


def test_another_view_is_only_read_where_it_counts(make_strategy, made):
    """decomposed: the language term acts on 3 of 12 tokens. Of the student the update reads all
    tokens as image and as the target's text; of the teacher all twice for the target."""
    world = World()
    signal = make_strategy("decomposed", gate_quantile=0.75)(world.scores)
    gated = int(
        next(m for m in signal.matches if m.view == "student_text").weight_BT.count_nonzero()
    )
    assert gated == 3
    current = world.current("student", "student_text")
    made.clear()
    world.loss(current, signal).backward()
    assert made[STUDENT] == pytest.approx(2 + gated / N)
    assert made[TEACHER] == pytest.approx(2 + gated / N)
    assert current["student_text"].hidden_NH.grad.any(-1).sum() == gated


@pytest.mark.parametrize("chunk", [None, 5])
def test_all_requests_of_a_view_are_one_reading(made, chunk):
    world = World(chunk=chunk)
    view = make_views(IDS_BT, EVERY_BT, world.views)["teacher"]
    made.clear()
    requests = [("logp",), ("entropy",), ("top_k_ids", 3), ("top_k_logp", 3), ("kl", "student")]
    view.read_all(requests)
    assert made == pytest.approx({TEACHER: 1, STUDENT: 1})
    view.read_all(requests)
    assert made == pytest.approx({TEACHER: 1, STUDENT: 1})
    alone = make_views(IDS_BT, EVERY_BT, world.views)["teacher"]
    for request in requests:
        torch.testing.assert_close(alone.read(request), view.known[request], atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", ["raw_kl", "full_kl"])
def test_memory_does_not_grow_with_tokens_times_ids(make_strategy, width, name):
    """Four times the tokens, 32 rows of logits at a time: less than a twentieth of a float32 matrix
    of those that came."""
    width(250)
    measured = []
    for answers in (40 * B, 160 * B):
        world = World(dtype=torch.float, chunk=32, answers=answers, ids=2000)
        signal = make_strategy(name)(world.scores)
        current = world.current("student")
        with peak() as found:
            world.loss(current, signal).backward()
        measured += found
    assert measured[1] - measured[0] < 4 * 120 * N * 2000 / 20
