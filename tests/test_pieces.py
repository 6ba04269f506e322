"""A step in pieces: every answer once, and the update is the one of the whole step."""

import copy
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gndpo.diagnostics import vocabulary_metrics
from gndpo.gradients import gradients
from gndpo.pieces import Piece, Portion, pieces, portions
from gndpo.prompts import Prompts
from gndpo.reads import dry_run
from gndpo.rng import uniform
from gndpo.rollout import generate
from gndpo.scores import Scores
from gndpo.scoring import score
from gndpo.sources import Source
from gndpo.surrogates import reinforce
from gndpo.teachers import sources
from gndpo.update import Batch, UpdateSettings, accumulate, update

G, T = 3, 6
WHOLE = Portion(micro=None, answers=None, chunk=4096)
CLOSE = 1e-5
"""Norms round to float32, whatever the dtype; gradients here are about 1."""
SIZES = st.none() | st.integers(1, 9)


@given(st.integers(0, 4), st.integers(1, 7), st.integers(1, 6), SIZES, SIZES)
def test_every_answer_is_in_one_piece_with_its_prompt(start, count, group, micro, answers):
    stop = start + count
    found = list(pieces(start, stop, group, micro, answers))
    rows = torch.cat([piece.rows for piece in found]).tolist()
    assert rows == list(range(start * group, stop * group))
    for piece in found:
        owners = (piece.rows // group).tolist()
        assert sorted({*owners}) == piece.prompts.tolist()
        assert len(piece.prompts) <= (micro or count)
        split = answers is not None and answers < group
        assert not split or (len(piece.prompts) == 1 and len(owners) <= answers)
        assert split or len(owners) == len(piece.prompts) * group


def shown(found):
    return [(piece.prompts.tolist(), piece.rows.tolist()) for piece in found]


def test_pieces_by_hand():
    whole = [([2, 3, 4], [*range(8, 20)])]
    assert shown(pieces(2, 5, 4, None, None)) == whole
    assert shown(pieces(2, 5, 4, 9, 4)) == whole
    two = [([2, 3], [*range(8, 16)]), ([4], [*range(16, 20)])]
    assert shown(pieces(2, 5, 4, 2, None)) == two
    assert shown(pieces(2, 3, 4, 2, 3)) == [([2], [8, 9, 10]), ([2], [11])]


LENGTHS = st.lists(st.integers(1, 9), min_size=12, max_size=12).map(torch.tensor)


@given(LENGTHS, LENGTHS, st.sampled_from([1, 2, 3]), st.integers(1, 80), st.integers(0, 2))
def test_no_piece_is_larger_than_it_may_be(length_P, length_B, group, tokens, start):
    """Each prompt, and each answer read, is as long as the longest beside it."""
    P = 12 // group
    portion = Portion(None, None, 4096, tokens)
    found = list(portions(start, P, portion, length_P[:P], length_B))
    rows = sorted(torch.cat([piece.rows for piece in found]).tolist())
    assert rows == list(range(start * group, 12))
    for piece in found:
        p, b = len(piece.prompts), len(piece.rows)
        assert (piece.rows // group).view(p, b // p).eq(piece.prompts[:, None]).all()
        assert b == 1 or b == p * group or p == 1
        size = p * length_P[piece.prompts].max() + b * length_B[piece.rows].max()
        assert size <= tokens or b == 1


def test_like_lengths_go_together():
    """Prompts of 2 tokens with two answers each, 10 tokens at a time: the second and the fourth fit
    together; the third is too long for one piece."""
    length_B = torch.tensor([4, 1, 1, 1, 9, 5, 1, 1])
    found = portions(0, 4, Portion(None, None, 4096, 10), torch.full((4,), 2), length_B)
    assert shown(found) == [([1, 3], [2, 3, 6, 7]), ([0], [0, 1]), ([2], [5]), ([2], [4])]


def test_a_piece_is_as_long_as_its_longest_answer():
    mask_BT = torch.tensor([[1, 1, 1], [1, 0, 0], [1, 1, 0]]).bool()
    piece = Piece(torch.tensor([1]), torch.tensor([1, 2]))
    ids_bt, mask_bt = piece.cut(torch.arange(9).view(3, 3), mask_BT)
    assert ids_bt.tolist() == [[3, 4], [6, 7]]
    assert mask_bt.tolist() == [[True, False], [True, True]]
    assert piece.tokens(mask_BT).tolist() == [3, 4, 5]


@pytest.fixture(scope="module")
def prompts(renderings):
    return Prompts([{}] * 3, [""] * 3, renderings)


@pytest.fixture(scope="module")
def answers(student, renderings):
    draws = torch.from_numpy(uniform(2, "tokens", 0, range(3 * G), T))
    return generate(student, renderings["image"], group=G, max_tokens=T, uniform_BT=draws)


@pytest.fixture(scope="module")
def step(make_strategy, student, teacher, prompts, answers):
    """step(portion): what an update needs, the strategy's two views scored in portions."""
    strategy = make_strategy("decomposed")
    reads = dry_run(strategy, 42)
    assert reads.trained == {"student", "student_text"}
    ours = copy.deepcopy(student)
    views = sources(Source.of(ours), Source.of(teacher))

    def make(portion, aggregation="sequence_mean_token_mean"):
        ours.load_state_dict(student.state_dict())
        ours.zero_grad()
        scores = Scores(
            ids_BT=answers.ids_BT,
            mask_BT=answers.mask_BT,
            views=score(views, prompts, answers, reads, portion),
            author_BT=answers.author_BT,
            behaviour_logp_BT=answers.logp_BT,
            uniform_BT=torch.full_like(answers.logp_BT, 0.9),
            group_B=torch.arange(3).repeat_interleave(G),
            reward_B=torch.zeros(3 * G),
        )
        signal = strategy(scores)
        batch = Batch(prompts, scores, signal, aggregation, reinforce, torch.Tensor.backward)
        return ours, views, reads.trained, batch

    return make


def settings_of(portion, **changes):
    values = {"epochs": 1, "minibatches": 1, "clip_norm": None} | changes
    return UpdateSettings(**values, **vars(portion))


PORTIONS = [
    Portion(1, None, 4096),
    Portion(2, None, 5),
    Portion(None, 1, 4096),
    Portion(None, 2, 7),
    Portion(2, 2, 4096),
    Portion(7, 5, 4096),
    Portion(None, None, 4096, tokens=60),
    Portion(None, None, 6, tokens=45),
]


def gradient(step, portion, aggregation, *, halves, start=0, stop=3):
    ours, views, trained, batch = step(portion, aggregation)
    used = {name: views[name] for name in sorted(trained)}
    row = accumulate(used, batch, start, stop, settings_of(portion), halves=halves)
    return row, [g.clone() for g in gradients(ours)]


@pytest.mark.parametrize("portion", PORTIONS, ids=str)
@pytest.mark.parametrize("aggregation", ["sequence_mean_token_mean", "token_mean"])
def test_loss_and_gradient_do_not_depend_on_the_portion(step, portion, aggregation):
    """Nor on the pause after the first half, in which its gradient is put aside."""
    expected, whole = gradient(step, WHOLE, aggregation, halves=False)
    assert max(g.abs().max() for g in whole) > 0.5
    for halves in (False, True):
        row, split = gradient(step, portion, aggregation, halves=halves)
        row.pop("grad/cosine_halves", None)
        assert row == pytest.approx(expected, abs=CLOSE)
        for ours, theirs in zip(split, whole, strict=True):
            torch.testing.assert_close(ours, theirs, atol=CLOSE, rtol=0)


@pytest.mark.parametrize("portion", [WHOLE, *PORTIONS], ids=str)
def test_halves_are_compared_at_the_same_place(step, portion):
    """Two prompts: the cosine between the gradients of each, under the weights of both."""
    row, both = gradient(step, portion, "token_mean", halves=True, stop=2)
    _, _, _, batch = step(WHOLE)
    tokens = [int(batch.scores.mask_BT[p * G : (p + 1) * G].sum()) for p in (0, 1)]
    first, second = (
        [tokens[p] / sum(tokens) * g for g in found]
        for p in (0, 1)
        for _, found in [gradient(step, WHOLE, "token_mean", halves=False, start=p, stop=p + 1)]
    )
    for a, b, total in zip(first, second, both, strict=True):
        torch.testing.assert_close(a + b, total, atol=CLOSE, rtol=0)
    a, b = (torch.cat([g.flatten() for g in found]) for found in (first, second))
    cosine = torch.nn.functional.cosine_similarity(a, b, dim=0).item()
    assert row["grad/cosine_halves"] == pytest.approx(cosine, abs=CLOSE)


@pytest.mark.parametrize("portion", PORTIONS[1:4], ids=str)
def test_several_updates_end_at_the_same_weights(step, portion):
    """Two epochs of two minibatches each, the second epoch off-policy."""
    changes = {"epochs": 2, "minibatches": 2, "clip_norm": 0.5}
    ends = []
    for one in (WHOLE, portion):
        ours, views, trained, batch = step(one)
        before = [p.detach().clone() for p in ours.parameters()]
        optimizer = torch.optim.SGD(ours.parameters(), lr=0.05)
        settings = settings_of(one, **changes)
        row = update(views, trained, batch, optimizer, settings, halves=False)
        assert row["train/updates"] == 4
        ends.append((row, [p.detach().clone() for p in ours.parameters()]))
        assert any((a - b).abs().max() > 1e-3 for a, b in zip(before, ends[-1][1], strict=True))
    assert ends[0][0] == pytest.approx(ends[1][0], abs=CLOSE)
    for a, b in zip(ends[0][1], ends[1][1], strict=True):
        torch.testing.assert_close(a, b, atol=CLOSE, rtol=0)


@pytest.mark.parametrize("portion", PORTIONS, ids=str)
@pytest.mark.parametrize("count", [2, 9])
def test_diagnoses_do_not_depend_on_the_portion(student, teacher, prompts, answers, portion, count):
    """Sums over tokens, of the first prompts or of all."""
    views = {"student": Source.of(student), "teacher": Source.of(teacher)}
    read = views, prompts, answers
    expected = vocabulary_metrics(*read, range(min(count, 3)), WHOLE)
    found = vocabulary_metrics(*read, range(min(count, 3)), portion)
    assert found == pytest.approx(expected, abs=CLOSE)
    first = replace(answers, **{name: x[: 2 * G] for name, x in answers.tensors.items()})
    two = Prompts([{}] * 2, [""] * 2, {"image": prompts.renderings["image"].select(slice(0, 2))})
    alone = vocabulary_metrics(views, two, first, range(2), WHOLE)
    assert (found == pytest.approx(alone, abs=CLOSE)) == (count == 2)
