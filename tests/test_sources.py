"""Whose weights read what: several teachers in one batch, each row by its own, say and write what
each would alone."""

import copy

import pytest
import torch
from transformers import InternVLForConditionalGeneration

from gndpo.errors import UserError
from gndpo.loss import answer_loss
from gndpo.pieces import Portion
from gndpo.policy import Policy
from gndpo.prompts import Prompts, Rendering
from gndpo.reads import Reads, dry_run
from gndpo.rng import uniform
from gndpo.rollout import generate
from gndpo.rows import Patchwork, Rows
from gndpo.scores import Scores
from gndpo.scoring import score
from gndpo.sources import Source, write
from gndpo.surrogates import reinforce, token_weights
from gndpo.teachers import sources

G, T = 3, 6
WHOLE = Portion(micro=None, answers=None, chunk=4096)
KINDS = ["sum", "top", "sum"]
REQUESTS = frozenset(
    {
        ("logp",),
        ("entropy",),
        ("kl", "student"),
        ("top_k_ids", 4),
        ("top_k_logp", 4),
        ("at_top_k", "student", 4),
    }
)


def row(kind):
    return {
        "name": "test/0",
        "images": [],
        "problem": f"the {kind} ?",
        "answer": "7",
        "choices": [],
        "solution": "",
        "kind": kind,
        "fields": {},
    }


@pytest.fixture(scope="module")
def narrow(student):
    """A model of another hidden size and depth with the same vocabulary."""
    config = copy.deepcopy(student.model.config)
    config.text_config.hidden_size, config.text_config.num_hidden_layers = 20, 1
    config.text_config.layer_types = config.text_config.layer_types[:1]
    torch.manual_seed(5)
    return Policy(InternVLForConditionalGeneration(config).eval().double(), student.vocabulary)


@pytest.fixture(scope="module")
def prompts(renderings):
    return Prompts([row(kind) for kind in KINDS], [""] * 3, renderings)


@pytest.fixture(scope="module")
def answers(student, renderings):
    draws = torch.from_numpy(uniform(1, "tokens", 0, range(3 * G), T))
    return generate(student, renderings["image"], group=G, max_tokens=T, uniform_BT=draws)


@pytest.fixture(scope="module")
def both(teacher, narrow):
    """The teacher for sums, the narrow model for tops, nobody's rows for a third."""
    return Source({"sum": teacher, "top": narrow, "rest": narrow}, "image", "kind")


def own(kind):
    """The answers to this kind's prompts, bool [B]."""
    return torch.tensor([x == kind for x in KINDS]).repeat_interleave(G)


def scored(student, source, prompts, answers, reads, portion=WHOLE):
    views = sources(Source.of(student), source)
    return score(views, prompts, answers, reads, portion)


READS = Reads(
    {"student": frozenset({("logp",), ("top_k_ids", 4)}), "teacher": REQUESTS},
    frozenset({"teacher"}),
    frozenset({"student"}),
)


@pytest.mark.parametrize(("micro", "size"), [(None, None), (1, None), (2, None), (None, 2), (2, 1)])
@pytest.mark.parametrize("chunk", [4096, 5])
def test_every_row_is_scored_by_its_own_teacher(
    student, teacher, narrow, both, prompts, answers, micro, size, chunk
):
    portion = Portion(micro, size, chunk)
    got = scored(student, both, prompts, answers, READS, portion)["teacher"]
    assert isinstance(got.rows, Patchwork)
    assert got.rows.chunk == chunk
    mask_BT = answers.mask_BT
    for kind, policy in (("sum", teacher), ("top", narrow)):
        alone = scored(student, Source.of(policy), prompts, answers, READS)["teacher"]
        for request in REQUESTS:
            a, b = (x.read(request)[own(kind)] for x in (got, alone))
            torch.testing.assert_close(a, b, atol=1e-9, rtol=0)
        tokens_N = own(kind)[:, None].expand_as(mask_BT)[mask_BT]
        a, b = (x.rows.log_probs()[tokens_N] for x in (got, alone))
        torch.testing.assert_close(a, b, atol=1e-9, rtol=0)
        part = slice(3, 11)
        a, b = (x.rows.log_probs(part)[tokens_N[part]] for x in (got, alone))
        torch.testing.assert_close(a, b, atol=1e-9, rtol=0)


@pytest.mark.parametrize("strategy", ["full_kl", "top_k_kl", "trust_region"])
def test_a_loss_takes_each_prompt_from_its_own_teacher(
    make_strategy, student, teacher, narrow, both, prompts, answers, strategy, piece
):
    """Whole distributions and top-k supports, prompt by prompt."""
    strategy = make_strategy(strategy)
    reads = dry_run(strategy, student.vocabulary.size)
    weight_BT = token_weights(answers.mask_BT, "sequence_mean_token_mean")

    def losses(source):
        views = scored(student, source, prompts, answers, reads, Portion(2, None, 4096))
        zeros_BT = torch.zeros_like(answers.logp_BT)
        scores = Scores(
            ids_BT=answers.ids_BT,
            mask_BT=answers.mask_BT,
            views=views,
            author_BT=answers.author_BT,
            behaviour_logp_BT=answers.logp_BT,
            uniform_BT=zeros_BT + 0.6,
            group_B=torch.arange(3).repeat_interleave(G),
            reward_B=zeros_BT[:, 0],
        )
        signal = strategy(scores)
        for p in range(3):
            part = slice(p * G, (p + 1) * G)
            rendering = prompts.renderings["image"].select(slice(p, p + 1))
            hidden_bTH = student.hidden(rendering, answers.ids_BT[part])
            rows = Rows(hidden_bTH[answers.mask_BT[part]], student.head)
            own = piece(part, scores)
            loss = answer_loss({"student": rows}, scores, signal, reinforce, weight_BT, own)
            yield loss.total.item()

    several = list(losses(both))
    alone = {"sum": list(losses(Source.of(teacher))), "top": list(losses(Source.of(narrow)))}
    assert several == pytest.approx([alone[kind][p] for p, kind in enumerate(KINDS)], abs=1e-9)
    assert abs(alone["sum"][0] - alone["top"][0]) > 1e-3


@pytest.mark.parametrize("micro", [None, 1, 2])
@pytest.mark.parametrize("greedy", [True, False])
@pytest.mark.parametrize("kinds", [KINDS, ["top", "top", "top"]])
def test_every_row_is_written_by_its_own_teacher(
    teacher, narrow, both, renderings, greedy, kinds, micro
):
    prompts = Prompts([row(kind) for kind in kinds], [""] * 3, renderings)
    draws = None if greedy else torch.from_numpy(uniform(4, "x", 0, range(3 * G), 12))
    options = {"group": G, "max_tokens": 12, "uniform_BT": draws}
    got = write(both, prompts, micro=micro, **options)
    assert got.mask_BT.any(0).all()  # no wider than the longest answer
    pad = teacher.vocabulary.pad
    for kind, policy in (("sum", teacher), ("top", narrow)):
        alone = write(Source.of(policy), prompts, **options)
        mine_B = torch.tensor([x == kind for x in kinds]).repeat_interleave(G)
        for name in ("length_B", "truncated_B"):
            assert torch.equal(getattr(got, name)[mine_B], getattr(alone, name)[mine_B])
        for b in mine_B.nonzero()[:, 0].tolist():
            n = int(got.length_B[b])
            assert torch.equal(got.ids_BT[b, :n], alone.ids_BT[b, :n])
            torch.testing.assert_close(got.logp_BT[b, :n], alone.logp_BT[b, :n])
            assert got.ids_BT[b, n:].eq(pad).all()
            assert not got.logp_BT[b, n:].any()


def test_a_model_reads_all_its_rows_at_once(
    student, narrow, teacher, prompts, answers, monkeypatch
):
    """However many values of the column it has; a model without rows is not asked."""
    same = Source({"sum": narrow, "top": narrow, "rest": teacher}, "image", "kind")
    calls = []
    encode = Policy.encode

    def counted(policy, rendering):
        calls.append((policy, len(rendering.ids_PL)))
        return encode(policy, rendering)

    monkeypatch.setattr(Policy, "encode", counted)
    scored(student, same, prompts, answers, READS)
    write(same, prompts, group=1, max_tokens=2, uniform_BT=None)
    assert calls == [(student, 3), (narrow, 3), (narrow, 3)]


def test_the_teacher_reads_the_same_answers_in_its_own_context(
    student, teacher, renderings, answers
):
    """Its own rendering of the prompt, longer than the student's; the tokens are the student's."""
    image = renderings["image"]
    longer_PL = torch.cat([image.ids_PL, image.ids_PL[:, -2:]], 1)
    context = Rendering(longer_PL, image.length_P + 2, image.images)
    prompts = Prompts([row("x")] * 3, [""] * 3, renderings | {"privileged_image": context})
    source = Source.of(teacher, "privileged_image")
    views = scored(student, source, prompts, answers, READS, Portion(2, None, 4096))
    expected_BTH = teacher.hidden(context, answers.ids_BT)
    expected_BTV = teacher.head.log_probs(expected_BTH)
    expected_BT = expected_BTV.gather(-1, answers.ids_BT[..., None])[..., 0] * answers.mask_BT
    torch.testing.assert_close(views["teacher"].logp_BT, expected_BT, atol=1e-9, rtol=0)
    plain = scored(student, Source.of(teacher), prompts, answers, READS)
    assert (views["teacher"].logp_BT - plain["teacher"].logp_BT).abs().max() > 1e-2
    torch.testing.assert_close(
        views["student"].logp_BT, plain["student"].logp_BT, atol=1e-9, rtol=0
    )
    for view in views.values():
        assert torch.equal(view.ids_BT, answers.ids_BT)


def test_a_row_without_a_teacher_is_named(both, renderings):
    stranger = Prompts([row("sum"), row("area"), row("top")], [""] * 3, renderings)
    sentence = "row test/0: teacher.weights has nobody for kind=area, only for sum, top, rest"
    with pytest.raises(UserError, match=sentence):
        write(both, stranger, group=1, max_tokens=2, uniform_BT=None)


def test_a_column_that_is_not_there_is_named(teacher, prompts):
    source = Source({"x": teacher}, "image", "subject")
    sentence = (
        "teacher.column=subject: the data has no such column, it has answer, choices, kind, problem"
    )
    with pytest.raises(UserError, match=sentence):
        source.parts(prompts.rows)


def test_a_further_column_of_the_data_can_choose(teacher, narrow):
    source = Source({"easy": teacher, "hard": narrow}, "image", "level")
    rows = [row("sum") | {"fields": {"level": level}} for level in ("hard", "easy", "hard")]
    parts = source.parts(rows)
    assert [(policy, which.tolist()) for policy, which in parts] == [
        (narrow, [0, 2]),
        (teacher, [1]),
    ]


def test_what_needs_one_teacher_refuses_a_column(both, teacher):
    for source in (both, Source({"sum": teacher}, "image", "kind")):
        with pytest.raises(UserError, match=r"one teacher for all rows; use teacher\.column=null"):
            _ = source.policy
