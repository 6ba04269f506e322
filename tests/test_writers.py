"""Who writes: the student, the teacher, the data, both in one batch, one after the other, a
blend."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from gndpo import writers
from gndpo.errors import UserError
from gndpo.models.digits import build_model, build_processor
from gndpo.models.processor import Processor
from gndpo.models.vocabulary import Vocabulary
from gndpo.policy import Policy
from gndpo.prompts import Prompts
from gndpo.rng import uniform
from gndpo.rollout import Answers, Guide, Script, generate
from gndpo.scores import DATA, STUDENT, TEACHER
from gndpo.sources import Source
from gndpo.sources import write as write_own
from gndpo.writers import Desk, blend, data, mixed, prefix

SOLUTION = "<think> 1 2 3 4 ; 3 6 10 </think> \\boxed{ 10 }"


def row(solution=SOLUTION, kind="sum", **fields):
    return {
        "name": "test/0",
        "images": [],
        "problem": f"the {kind} ?",
        "answer": "10",
        "choices": [],
        "solution": solution,
        "kind": kind,
        "fields": fields,
    }


def draws_of(step, seed=0):
    def draws(stream, rows, columns):
        return torch.from_numpy(uniform(seed, stream, step, rows, columns))

    return draws


@pytest.fixture(scope="module")
def desk(student, teacher, renderings):
    """desk(step=3): three prompts, four answers each of at most twelve tokens, ten steps."""
    base = Desk(
        prompts=Prompts([row(), row(kind="top"), row()], [""] * 3, renderings),
        student=Source.of(student),
        teacher=Source.of(teacher),
        processor=None,
        group=4,
        max_tokens=12,
        place_P=range(3),
        draws=draws_of(0),
        step=0,
        steps=10,
    )

    def make(**changes):
        step = changes.get("step", 0)
        return replace(base, **({"draws": draws_of(step)} | changes))

    return make


def equal(a, b):
    """The same answers, bit by bit."""
    return a.tensors.keys() == b.tensors.keys() and all(
        torch.equal(x, b.tensors[name]) for name, x in a.tensors.items()
    )


def same_tokens(a, b, rows_B=slice(None)):
    """The same valid tokens and authors, however wide the batch."""
    lists = [
        [ids[:n].tolist() for ids, n in zip(x.ids_BT[rows_B], x.length_B[rows_B], strict=True)]
        for x in (a, b)
    ]
    return lists[0] == lists[1]


def author(value):
    """A writer of fixed answers: the lengths, each ending with its EOS, every token numbered."""

    def write(desk):
        length_B = torch.tensor(value).repeat_interleave(desk.group)
        T = int(length_B.max())
        t_T = torch.arange(T)
        ids_BT = (5 + t_T % 30).expand(len(length_B), T).where(t_T < length_B[:, None] - 1, 1)
        ids_BT = ids_BT.where(t_T < length_B[:, None], 2)
        mask_BT = t_T < length_B[:, None]
        logp_BT = -0.25 * mask_BT.double()
        return Answers(ids_BT, length_B, logp_BT, length_B < 0, DATA * mask_BT.long())

    return write


def test_the_student_writes_with_the_draws_of_its_answers(desk, student, renderings):
    own = writers.student(desk(step=3))
    numbers = torch.from_numpy(uniform(0, "tokens", 3, range(12), 12))
    expected = generate(student, renderings["image"], group=4, max_tokens=12, uniform_BT=numbers)
    assert equal(own, expected)
    assert own.author_BT.eq(STUDENT).all()
    assert not equal(own, writers.student(desk(step=4)))


WRITERS = {
    "student": writers.student,
    "teacher": lambda desk: writers.teacher(desk, cache=None),
    "mixed": lambda desk: mixed(desk, other=whole, share=0.5, per="answer"),
    "prefix": lambda desk: prefix(desk, author=whole),
    "blend": lambda desk: blend(desk, budget=0.5, until=1.0),
}


@pytest.mark.parametrize("micro", [1, 2])
@pytest.mark.parametrize("name", WRITERS)
def test_every_writer_answers_some_prompts_at_a_time_as_it_answers_all(desk, name, micro):
    expected, got = (WRITERS[name](desk(step=3, micro=size)) for size in (None, micro))
    for field, x in expected.tensors.items():
        torch.testing.assert_close(getattr(got, field), x, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", WRITERS)
def test_the_students_hidden_states_stay_where_it_read_the_answers(
    desk, student, renderings, name, tmp_path
):
    """Also at tokens that it did not write; the teacher's own answers have none."""
    answers = WRITERS[name](desk(step=3, keep_hidden=True))
    assert (answers.hidden_BTH is None) == (name == "teacher")
    if answers.hidden_BTH is not None:
        hidden_BTH = student.hidden(renderings["image"], answers.ids_BT).detach()
        expected_BTH = hidden_BTH * answers.mask_BT[..., None]
        torch.testing.assert_close(answers.hidden_BTH, expected_BTH, atol=1e-9, rtol=0)
    writers.keep(answers, tmp_path / "answers.safetensors")
    assert "hidden_BTH" not in load_file(tmp_path / "answers.safetensors")


@pytest.mark.parametrize("name", ["student", "teacher"])
def test_no_more_prompts_at_a_time_than_allowed(desk, name, monkeypatch):
    """The forward is what has to fit."""
    sizes = []
    encode = Policy.encode

    def counted(policy, rendering):
        sizes.append(len(rendering.ids_PL))
        return encode(policy, rendering)

    monkeypatch.setattr(Policy, "encode", counted)
    WRITERS[name](desk(micro=2, max_tokens=1))
    assert sizes == [2, 1]


def test_the_student_sees_its_own_rendering(desk, student, renderings):
    seen = writers.student(desk(student=Source.of(student, "text")))
    numbers = draws_of(0)("tokens", range(12), 12)
    expected = generate(student, renderings["text"], group=4, max_tokens=12, uniform_BT=numbers)
    assert equal(seen, expected)


def test_the_teacher_writes_and_every_token_says_so(desk, teacher, renderings):
    answers = writers.teacher(desk(step=2), cache=None)
    numbers = torch.from_numpy(uniform(0, "teacher", 2, range(12), 12))
    expected = generate(teacher, renderings["image"], group=4, max_tokens=12, uniform_BT=numbers)
    assert equal(replace(answers, author_BT=expected.author_BT), expected)
    assert torch.equal(answers.author_BT, TEACHER * answers.mask_BT.long())
    assert (~answers.mask_BT).any()


@pytest.fixture
def asked(monkeypatch):
    """How often a model had to write for the teacher."""
    calls = []

    def counted(*args, **kwargs):
        calls.append(1)
        return write_own(*args, **kwargs)

    monkeypatch.setattr(writers, "write_own", counted)
    return calls


def test_a_cache_gives_the_same_answers_without_the_model(desk, tmp_path, asked):
    first = writers.teacher(desk(), cache=str(tmp_path))
    again = writers.teacher(desk(), cache=str(tmp_path))
    assert len(asked) == 1
    assert equal(first, again)
    assert equal(first, writers.teacher(desk(), cache=None))
    for name, x in again.tensors.items():
        assert x.dtype == getattr(first, name).dtype
    other = desk(student=Source.of(desk().teacher.policy), step=7, draws=draws_of(0))
    assert equal(first, writers.teacher(other, cache=str(tmp_path)))  # not the teacher's business
    assert len(asked) == 2  # the one without a cache


def test_whatever_changes_the_answers_asks_the_model_again(
    desk, student, teacher, renderings, tmp_path, asked
):
    def nudged(policy):
        other = copy.deepcopy(policy)
        with torch.no_grad():
            next(iter(other.parameters())).view(-1)[0] += 1e-9
        return other

    image = renderings["image"]
    pixels = tuple({"pixel_values": x["pixel_values"] + 1e-9} for x in image.images)
    ids_PL = image.ids_PL.clone()
    ids_PL[0, -1] = 7

    def shown(rendering):
        return Prompts(desk().prompts.rows, [""] * 3, {"image": rendering})

    def taught(kinds, **policies):
        prompts = Prompts([row(kind=kind) for kind in kinds], [""] * 3, renderings)
        return desk(prompts=prompts, teacher=Source(policies, "image", "kind"))

    hot = Policy(teacher.model, teacher.vocabulary, 1.5)
    ends = Policy(teacher.model, replace(teacher.vocabulary, eos=(1,)))
    different = [
        desk(),
        desk(teacher=Source.of(student)),
        desk(teacher=Source.of(nudged(teacher))),
        desk(teacher=Source.of(hot)),
        desk(teacher=Source.of(ends)),
        desk(teacher=Source.of(teacher, "text")),
        desk(prompts=shown(replace(image, images=pixels))),
        desk(prompts=shown(replace(image, ids_PL=ids_PL))),
        desk(step=1),
        desk(group=2),
        desk(max_tokens=11),
        taught("aba", a=teacher, b=student),
        taught("aba", a=student, b=teacher),
        taught("abb", a=teacher, b=student),
    ]
    for i, one in enumerate(different):
        answers = writers.teacher(one, cache=str(tmp_path))
        assert len(asked) == i + 1
        assert equal(answers, writers.teacher(one, cache=str(tmp_path)))
        assert len(asked) == i + 1
    assert len(list((tmp_path / "answers").iterdir())) == len(different)


def test_the_same_weights_under_other_names_of_the_column_do_not_meet(
    desk, student, teacher, renderings, tmp_path
):
    """{a: X, b: Y} and {b: X, c: Y}, all rows b: Y answers in one, X in the other."""
    prompts = Prompts([row(kind="b")] * 3, [""] * 3, renderings)
    settings = (teacher, {"a": student, "b": teacher}), (student, {"b": student, "c": teacher})
    for expected, policies in settings:
        source = Source(policies, "image", "kind")
        got = writers.teacher(desk(prompts=prompts, teacher=source), cache=str(tmp_path))
        alone = writers.teacher(desk(teacher=Source.of(expected)), cache=None)
        assert same_tokens(got, alone)


def test_a_file_that_was_not_finished_is_never_read(desk, tmp_path, asked, monkeypatch):
    def crash(tensors, file):
        file.write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(writers, "save_file", crash)
        with pytest.raises(KeyboardInterrupt):
            writers.teacher(desk(), cache=str(tmp_path))
    assert not list((tmp_path / "answers").glob("*.safetensors"))
    answers = writers.teacher(desk(), cache=str(tmp_path))
    assert len(asked) == 2
    assert equal(answers, writers.teacher(desk(), cache=None))
    (file,) = (tmp_path / "answers").glob("*.safetensors")
    assert load_file(file).keys() == answers.tensors.keys()


def test_a_folder_that_cannot_be_written_is_one_sentence(desk, tmp_path):
    (tmp_path / "file").write_text("in the way")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(
            UserError, match=r"cannot write the teacher's answers into .*file.*null"
        ):
            writers.teacher(desk(), cache=str(folder))


@pytest.fixture(scope="module")
def digits(desk):
    """The embedded tokenizer, and a student that shares its ids."""
    processor = Processor(build_processor())
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    size |= {"intermediate_size": 32}
    text = {**size, "num_key_value_heads": 2, "head_dim": 8}
    model = build_model(processor.tokenizer, vision=size, text=text)
    policy = Policy(model, Vocabulary.of(processor, model, None))
    return desk(student=Source.of(policy), processor=processor, max_tokens=20)


def with_rows(desk, *rows):
    return replace(desk, prompts=replace(desk.prompts, rows=rows))


def test_the_data_answers_with_its_column_and_an_end(digits):
    tokenizer = digits.processor.tokenizer
    short = "\\boxed{ 10 }"
    rows = row(), row(short), row(SOLUTION + " ;" * 30)
    answers = data(with_rows(digits, *rows), column="solution")
    for b, text in enumerate([SOLUTION] * 4 + [short] * 4):
        expected = [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]
        n = int(answers.length_B[b])
        assert answers.ids_BT[b, :n].tolist() == expected
        assert tokenizer.decode(answers.ids_BT[b, : n - 1]) == text
        assert answers.ids_BT[b, n:].eq(tokenizer.pad_token_id).all()
    long = tokenizer(rows[2]["solution"])["input_ids"][:20]
    assert answers.ids_BT[8:].tolist() == [long] * 4
    assert answers.truncated_B.tolist() == [False] * 8 + [True] * 4
    assert torch.equal(answers.author_BT, DATA * answers.mask_BT.long())
    assert not answers.logp_BT.any()


def test_an_answer_that_just_fits_is_not_truncated(digits):
    fits = len(digits.processor.tokenizer(SOLUTION)["input_ids"]) + 1
    for limit, cut in ((fits, False), (fits - 1, True)):
        answers = data(replace(with_rows(digits, row()), max_tokens=limit), column="solution")
        assert answers.truncated_B.tolist() == [cut] * 4
        assert answers.ids_BT.shape[1] == limit


def test_any_column_can_hold_the_answers(digits):
    one = with_rows(digits, row(other="\\boxed{ 3 }"))
    assert (
        digits.processor.tokenizer.decode(
            data(one, column="other").ids_BT[0], skip_special_tokens=True
        )
        == "\\boxed{ 3 }"
    )


@pytest.mark.parametrize(
    ("column", "where", "there"),
    [
        ("solution", "the largest ?", "problem, answer, kind, hint"),  # empty
        ("work", "the sum ?", "problem, answer, solution, kind"),  # no such column
    ],
)
def test_a_row_without_an_answer_is_named(digits, column, where, there):
    rows = row(), row("", kind="largest", hint="x")
    with pytest.raises(UserError) as refused:
        data(with_rows(digits, *rows), column=column)
    assert str(refused.value) == (
        f"rollout.writer: the row {where!r} has nothing in its column '{column}'; it has {there}"
    )


def whole(desk):
    return writers.teacher(desk, cache=None)


@pytest.mark.parametrize(("share", "own"), [(0.0, 0), (0.25, 1), (0.5, 2), (0.75, 3), (1.0, 4)])
def test_each_prompt_gets_its_share_of_the_students_answers(desk, share, own):
    answers = mixed(desk(step=1), other=whole, share=share, per="answer")
    mine_B = (torch.arange(4) < own).repeat(3)
    first_B = answers.author_BT[:, 0]
    assert torch.equal(first_B, TEACHER * (~mine_B).long())
    assert torch.equal(answers.author_BT, first_B[:, None] * answers.mask_BT.long())
    assert same_tokens(answers, writers.student(desk(step=1)), mine_B)
    assert same_tokens(answers, whole(desk(step=1)), ~mine_B)
    theirs = whole(desk(step=1))
    for b in (~mine_B).nonzero()[:, 0].tolist():
        n = int(answers.length_B[b])
        assert torch.equal(answers.logp_BT[b, :n], theirs.logp_BT[b, :n])
        assert answers.truncated_B[b] == theirs.truncated_B[b]


def test_a_share_that_is_no_whole_number_is_kept_on_average(desk):
    """0.3 of 4 answers: 1 or 2 of every prompt, 1.2 on average."""
    counts = []
    for step in range(40):
        one = desk(step=step, max_tokens=1)
        answers = mixed(one, other=whole, share=0.3, per="answer")
        counts += answers.author_BT[:, 0].eq(STUDENT).view(3, 4).sum(1).tolist()
    assert set(counts) == {1, 2}
    assert sum(counts) / len(counts) == pytest.approx(1.2, abs=3 * math.sqrt(0.2 * 0.8 / 120))


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_a_coin_per_step_decides_for_the_whole_batch(desk, share):
    sides = set()
    for step in range(8):
        one = desk(step=step, max_tokens=3)
        own = uniform(0, "mix", step, [0], 1).item() < share
        expected = writers.student(one) if own else whole(one)
        assert equal(mixed(one, other=whole, share=share, per="step"), expected)
        sides.add(own)
    assert sides == {share > 0, share == 1}


def test_in_a_mixture_of_three_every_token_keeps_its_author(desk):
    def others(desk):
        answers = author([3, 5, 2])(desk)
        odd_B1 = torch.arange(12)[:, None] % 2 == 1
        authors_B1 = torch.full_like(odd_B1, TEACHER, dtype=torch.long).masked_fill(odd_B1, DATA)
        return replace(answers, author_BT=authors_B1 * answers.mask_BT)

    answers = mixed(desk(), other=others, share=0.5, per="answer")
    assert answers.author_BT[:, 0].view(3, 4).tolist() == [[STUDENT, STUDENT, TEACHER, DATA]] * 3


@pytest.mark.parametrize(
    ("share", "per"), [(-0.1, "answer"), (1.1, "step"), (0.5, "token"), (0.5, "answers")]
)
def test_shares_and_units_that_do_not_exist_are_refused(desk, share, per):
    sentence = f"share={share}, per={per}; share must lie in 0..1, per is step or answer"
    with pytest.raises(UserError, match=sentence):
        mixed(desk(), other=whole, share=share, per=per)


@pytest.mark.parametrize(
    ("step", "length"),
    [(0, 999), (25, 961), (50, 853), (75, 691), (100, 500), (125, 308), (150, 146), (175, 38)],
)
def test_the_share_of_the_prefix_falls_along_a_cosine(desk, step, length, monkeypatch):
    """200 steps, an answer of 1000 tokens; at the first step all but its last token."""
    scripts = []

    def look(desk, script):
        scripts.append(script)
        return author([1, 1, 1])(desk)

    monkeypatch.setattr(writers, "written", look)
    prefix(desk(step=step, steps=200), author=author([1000, 3, 1]))
    lengths = scripts[0].length_B.view(3, 4)
    a = (1 + math.cos(math.pi * step / 200)) / 2
    assert lengths.tolist() == [[length] * 4, [min(2, math.floor(3 * a))] * 4, [0] * 4]


def test_at_the_end_there_is_no_prefix(desk, monkeypatch):
    """a_200 of 200 would be 0; a_199 of 1000 tokens is 0.06 of a token."""
    for step in (199, 200):
        answers = prefix(desk(step=step, steps=200), author=author([1000, 3, 1]))
        assert equal(answers, writers.student(desk(step=step)))


@pytest.mark.parametrize("step", range(0, 10, 3))
def test_all_answers_of_a_prompt_continue_the_same_prefix(desk, teacher, step):
    answers = prefix(desk(step=step), author=whole)
    theirs = whole(desk(step=step).one_each())
    a = (1 + math.cos(math.pi * step / 10)) / 2
    eos = torch.tensor(teacher.vocabulary.eos)
    for b in range(12):
        p = b // 4
        L = int(theirs.length_B[p])
        n = min(math.floor(a * L), L - 1)
        assert torch.equal(answers.ids_BT[b, :n], theirs.ids_BT[p, :n])
        assert torch.equal(answers.logp_BT[b, :n], theirs.logp_BT[p, :n])
        assert not torch.isin(answers.ids_BT[b, :n], eos).any()
        length = int(answers.length_B[b])
        assert length > n  # at least one token of the student
        authors = [TEACHER] * n + [STUDENT] * (length - n)
        assert answers.author_BT[b, :length].tolist() == authors
    assert not answers.author_BT[~answers.mask_BT].any()


def test_the_student_goes_on_with_its_own_draws(desk, student, renderings):
    answers = prefix(desk(step=5), author=whole)
    theirs = whole(desk(step=5).one_each()).repeat(4)
    length_B = theirs.length_B // 2
    script = Script(theirs.ids_BT, length_B, theirs.logp_BT, theirs.author_BT)
    expected = generate(
        student,
        renderings["image"],
        group=4,
        max_tokens=12,
        uniform_BT=draws_of(5)("tokens", range(12), 12),
        script=script,
    )
    assert equal(answers, expected)


def test_the_data_can_begin(digits, monkeypatch):
    rows = row(), row("\\boxed{ 10 }"), row()
    one = replace(with_rows(digits, *rows), step=5)
    scripts = []
    monkeypatch.setattr(writers, "written", lambda desk, script: scripts.append(script))
    prefix(one, author=lambda desk: data(desk, column="solution"))
    lengths = data(one.one_each(), column="solution").length_B
    assert scripts[0].length_B.view(3, 4)[:, 0].tolist() == (lengths // 2).tolist()
    assert scripts[0].author_BT[0, 0] == DATA


@pytest.mark.parametrize(("step", "left"), [(0, 0.5), (1, 0.25)])
def test_a_blend_spends_a_budget_that_falls_to_zero(desk, student, teacher, renderings, step, left):
    """0.5 nats over the first fifth of ten steps."""
    one = desk(step=step, teacher=Source.of(teacher, "text"))
    answers = blend(one, budget=0.5, until=0.2)
    expected = generate(
        student,
        renderings["image"],
        group=4,
        max_tokens=12,
        uniform_BT=draws_of(step)("tokens", range(12), 12),
        guide=Guide(teacher, renderings["text"], left),
    )
    assert equal(answers, expected)
    assert not equal(answers, writers.student(one))


@pytest.mark.parametrize("step", [2, 3, 9])
def test_afterwards_the_student_writes_alone(desk, step):
    one = desk(step=step)
    assert equal(blend(one, budget=0.5, until=0.2), writers.student(one))


@pytest.mark.parametrize(("budget", "until"), [(0.0, 0.5), (-1.0, 0.5), (0.02, 0.0), (0.02, -1.0)])
def test_a_blend_without_budget_or_time_is_refused(desk, budget, until):
    with pytest.raises(UserError, match=f"budget={budget}, until={until}; both must be larger"):
        blend(desk(), budget=budget, until=until)


def test_a_blend_needs_one_teacher(desk, teacher, student):
    several = Source({"sum": teacher, "top": student}, "image", "kind")
    with pytest.raises(UserError, match="one teacher for all rows"):
        blend(desk(teacher=several), budget=0.5, until=0.5)
