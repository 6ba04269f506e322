"""Sampling: where answers end, that what it reports is what scoring finds; scripts that others
began, and guides."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from gndpo.drawing import blend, inverse_cdf
from gndpo.models.vocabulary import Vocabulary
from gndpo.policy import Policy
from gndpo.rng import uniform
from gndpo.rollout import Answers, Guide, Script, gathered, generate
from gndpo.scores import DATA, STUDENT, TEACHER

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


def test_mask_of_answers_and_their_copies():
    zeros, cut = torch.zeros(2, 3), torch.tensor([False, True])
    answers = Answers(zeros.long(), torch.tensor([1, 3]), zeros, cut, zeros.long())
    assert answers.mask_BT.tolist() == [[True, False, False], [True, True, True]]
    assert answers.repeat(2).length_B.tolist() == [1, 1, 3, 3]
    assert answers.repeat(2).ids_BT.shape == (4, 3)


@pytest.mark.parametrize("micro", [None, 2])
def test_kept_hidden_states_predict_the_tokens(student, renderings, draws, answers, micro):
    """Those of one forward over the finished answers; zeros at padding."""
    options = {"group": G, "max_tokens": LIMIT, "uniform_BT": draws, "micro": micro}
    kept = generate(student, renderings["image"], keep_hidden=True, **options)
    assert answers.hidden_BTH is None
    hidden_BTH = student.hidden(renderings["image"], kept.ids_BT).detach()
    expected_BTH = hidden_BTH * kept.mask_BT[..., None]
    torch.testing.assert_close(kept.hidden_BTH, expected_BTH, atol=1e-9, rtol=0)
    assert not kept.hidden_BTH[~kept.mask_BT].any()
    assert torch.equal(kept.repeat(2).hidden_BTH[::2], kept.hidden_BTH)
    assert answers.repeat(2).hidden_BTH is None


@pytest.fixture(scope="module")
def foreign(teacher, renderings):
    """Answers of another author, and how many of their tokens each row is given: none, a third,
    two thirds, all."""
    draws = torch.from_numpy(uniform(0, "teacher", 0, range(3 * G), LIMIT))
    answers = generate(teacher, renderings["image"], group=G, max_tokens=LIMIT, uniform_BT=draws)
    answers = replace(answers, author_BT=TEACHER * answers.mask_BT.long())
    return answers, answers.length_B * (torch.arange(3 * G) % 4) // 3


@pytest.fixture(scope="module")
def prompted(student, renderings, draws, foreign):
    """The student's answers after those scripts."""
    answers, length_B = foreign
    script = Script(answers.ids_BT, length_B, answers.logp_BT, answers.author_BT)
    return generate(
        student,
        renderings["image"],
        group=G,
        max_tokens=LIMIT,
        uniform_BT=draws,
        script=script,
    )


def padded(x_BT, T):
    return nn.functional.pad(x_BT, (0, T - x_BT.shape[1]))


def test_a_script_comes_out_as_it_is(student, foreign, prompted):
    answers, length_B = foreign
    T = prompted.ids_BT.shape[1]
    given_BT = torch.arange(T) < length_B[:, None]
    assert (prompted.length_B >= length_B).all()
    for name in ("ids_BT", "logp_BT", "author_BT"):
        theirs_BT = padded(getattr(answers, name), LIMIT)[:, :T]
        assert torch.equal(getattr(prompted, name)[given_BT], theirs_BT[given_BT]), name
    own_BT = prompted.mask_BT & ~given_BT
    assert own_BT.any(1).sum() > G
    assert (prompted.author_BT[own_BT] == STUDENT).all()
    assert (prompted.author_BT[given_BT] == TEACHER).all()
    padding_BT = ~prompted.mask_BT
    assert padding_BT.any()
    assert (prompted.ids_BT[padding_BT] == student.vocabulary.pad).all()
    assert not prompted.logp_BT[padding_BT].any()
    assert not prompted.author_BT[padding_BT].any()


def test_after_a_script_the_student_samples_what_it_says_given_the_script(
    student, renderings, draws, foreign, prompted
):
    T = prompted.ids_BT.shape[1]
    hidden_BTH = student.hidden(renderings["image"], prompted.ids_BT).detach()
    logp_BTV = student.head.log_probs(hidden_BTH)
    own_BT = prompted.mask_BT & (torch.arange(T) >= foreign[1][:, None])
    logp_BT = logp_BTV.gather(-1, prompted.ids_BT[..., None])[..., 0]
    torch.testing.assert_close(prompted.logp_BT[own_BT], logp_BT[own_BT], atol=1e-9, rtol=0)
    for t in range(T):
        again_B = inverse_cdf(logp_BTV[:, t], draws[:, t])
        assert torch.equal(again_B[own_BT[:, t]], prompted.ids_BT[own_BT[:, t], t])


def test_rows_without_a_script_are_what_they_would_be_without_any(answers, foreign, prompted):
    free_B = foreign[1] == 0
    assert free_B.sum() >= 6
    for name in ("length_B", "truncated_B"):
        assert torch.equal(getattr(prompted, name)[free_B], getattr(answers, name)[free_B])
    for name in ("ids_BT", "logp_BT", "author_BT"):
        mask_BT = answers.mask_BT[free_B]
        a, b = getattr(prompted, name)[free_B], getattr(answers, name)[free_B]
        assert torch.equal(padded(a, LIMIT)[padded(mask_BT, LIMIT)], b[mask_BT]), name


def test_a_script_of_whole_answers_leaves_nothing_to_write(student, renderings, draws, foreign):
    answers, _ = foreign
    script = Script(answers.ids_BT, answers.length_B, answers.logp_BT, answers.author_BT)
    image = renderings["image"]
    got = generate(student, image, group=G, max_tokens=LIMIT, uniform_BT=draws, script=script)
    for name, x in answers.tensors.items():
        assert torch.equal(getattr(got, name), x), name


def test_an_end_inside_a_script_ends_the_answer(student, renderings, draws):
    ids_BT = torch.tensor([5, 6, 3, 7, 8, 9]).expand(3 * G, 6)
    logp_BT = torch.full((3 * G, 6), -0.5).double()
    length_B = torch.full((3 * G,), 6)
    script = Script(ids_BT, length_B, logp_BT, torch.full_like(ids_BT, DATA))
    length_B[0] = 0
    got = generate(
        student, renderings["image"], group=G, max_tokens=LIMIT, uniform_BT=draws, script=script
    )
    assert got.ids_BT.shape[1] > 3  # row 0 goes on
    pad = student.vocabulary.pad
    for row in got.ids_BT[1:].tolist():
        assert row == [5, 6, 3] + [pad] * (len(row) - 3)
    assert got.length_B[1:].eq(3).all()
    assert not got.truncated_B[1:].any()
    assert got.author_BT[1:].sum(1).eq(3 * DATA).all()
    assert got.logp_BT[1:].sum(1).eq(-1.5).all()


def test_a_script_longer_than_the_limit_is_cut_there(student, renderings, draws):
    ids_BT = torch.full((3 * G, LIMIT), 5)
    logp_BT = torch.zeros(3 * G, LIMIT)
    length_B = torch.zeros(3 * G, dtype=torch.long)
    length_B[3] = LIMIT
    script = Script(ids_BT, length_B, logp_BT, torch.full_like(ids_BT, TEACHER))
    image = renderings["image"]
    got = generate(student, image, group=G, max_tokens=4, uniform_BT=draws, script=script)
    plain = generate(student, image, group=G, max_tokens=4, uniform_BT=draws)
    assert got.ids_BT[3].tolist() == [5] * 4
    assert got.truncated_B[3]
    assert got.length_B[3] == 4
    others = torch.arange(3 * G) != 3
    assert torch.equal(got.ids_BT[others], plain.ids_BT[others])
    assert torch.equal(got.truncated_B[others], plain.truncated_B[others])


@pytest.fixture(scope="module")
def guided(student, teacher, renderings, draws):
    """Written with a teacher that sees another rendering."""
    guide = Guide(teacher, renderings["text"], 0.3)
    return generate(
        student, renderings["image"], group=G, max_tokens=LIMIT, uniform_BT=draws, guide=guide
    )


def test_guided_answers_are_drawn_from_the_blend_of_both_and_say_so(
    student, teacher, renderings, draws, guided
):
    p_BTV, q_BTV = (
        policy.head.log_probs(policy.hidden(renderings[rendering], guided.ids_BT)).detach()
        for policy, rendering in ((student, "image"), (teacher, "text"))
    )
    mask_BT = guided.mask_BT
    m_NV = blend(p_BTV[mask_BT], q_BTV[mask_BT], 0.3)
    draws_N = draws[:, : mask_BT.shape[1]][mask_BT]
    assert torch.equal(inverse_cdf(m_NV, draws_N), guided.ids_BT[mask_BT])
    m_N = m_NV.gather(-1, guided.ids_BT[mask_BT][:, None])[:, 0]
    torch.testing.assert_close(guided.logp_BT[mask_BT], m_N, atol=1e-6, rtol=0)
    p_N = scored(student, renderings["image"], guided.ids_BT)[mask_BT]
    assert (guided.logp_BT[mask_BT] - p_N).abs().max() > 0.1
    assert (guided.author_BT == STUDENT).all()


@pytest.mark.parametrize(("budget", "which"), [(1e-13, "student"), (1e3, "teacher")])
def test_a_guide_without_limit_writes_alone_and_without_budget_not_at_all(
    request, student, renderings, draws, budget, which
):
    alone = request.getfixturevalue(which)
    image = renderings["image"]
    guide = Guide(request.getfixturevalue("teacher"), image, budget)
    options = {"group": G, "max_tokens": LIMIT, "uniform_BT": draws}
    got, expected = (
        generate(student, image, guide=guide, **options),
        generate(alone, image, **options),
    )
    assert torch.equal(got.ids_BT, expected.ids_BT)
    torch.testing.assert_close(got.logp_BT, expected.logp_BT, atol=1e-4, rtol=0)


def scripted(request):
    answers, length_B = request.getfixturevalue("foreign")
    return {"script": Script(answers.ids_BT, length_B, answers.logp_BT, answers.author_BT)}


def led(request):
    teacher, renderings = (request.getfixturevalue(x) for x in ("teacher", "renderings"))
    return {"guide": Guide(teacher, renderings["text"], 0.3)}


@pytest.mark.parametrize("micro", [1, 2, 3, 5])
@pytest.mark.parametrize(
    "extra", [lambda _: {}, scripted, led, lambda x: scripted(x) | led(x)], ids=range(4)
)
def test_some_prompts_at_a_time_get_the_same_answers(
    request, student, renderings, draws, micro, extra
):
    """With their own draws, their own part of a script, and what the guide reads of them."""
    options = {"group": G, "max_tokens": LIMIT, "uniform_BT": draws, "keep_hidden": True}
    options |= extra(request)
    whole, parts = (
        generate(student, renderings["image"], micro=size, **options) for size in (None, micro)
    )
    for name in ("ids_BT", "length_B", "truncated_B", "author_BT"):
        assert torch.equal(getattr(parts, name), getattr(whole, name)), name
    for name in ("logp_BT", "hidden_BTH"):
        a, b = getattr(parts, name), getattr(whole, name)
        torch.testing.assert_close(a, b, atol=1e-6, rtol=0)


def test_greedy_answers_are_as_wide_as_the_longest_of_all_parts(student, renderings):
    options = {"group": 1, "max_tokens": LIMIT, "uniform_BT": None}
    whole, parts = (generate(student, renderings["text"], micro=x, **options) for x in (None, 1))
    assert len({*whole.length_B.tolist()}) > 1
    assert torch.equal(parts.ids_BT, whole.ids_BT)
    assert torch.equal(parts.mask_BT, whole.mask_BT)
    assert parts.mask_BT.any(0).all()


def test_answers_of_several_batches_come_back_to_their_rows():
    """Rows 2, 0 of two tokens and row 1 of three; padding is filled up."""

    def part(ids, lengths, author):
        ids_BT = torch.tensor(ids)
        length_B = torch.tensor(lengths)
        mask_BT = torch.arange(ids_BT.shape[1]) < length_B[:, None]
        logp_BT = -0.5 * mask_BT.double()
        return Answers(ids_BT, length_B, logp_BT, length_B > 2, author * mask_BT.long())

    parts = part([[5, 1], [6, 9]], [2, 1], TEACHER), part([[7, 8, 4]], [3], DATA)
    got = gathered(parts, [torch.tensor([2, 0]), torch.tensor([1])], pad=9)
    assert got.ids_BT.tolist() == [[6, 9, 9], [7, 8, 4], [5, 1, 9]]
    assert got.length_B.tolist() == [1, 3, 2]
    assert got.truncated_B.tolist() == [False, True, False]
    assert got.logp_BT.tolist() == [[-0.5, 0, 0], [-0.5] * 3, [-0.5, -0.5, 0]]
    assert got.author_BT.tolist() == [[TEACHER, 0, 0], [DATA] * 3, [TEACHER, TEACHER, 0]]
