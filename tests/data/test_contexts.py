"""Rows in other contexts: their shares, and the contexts that are shipped."""

from collections import Counter

import pytest
from hydra import compose, initialize_config_dir

from gndpo.build import build, config_folder
from gndpo.data.contexts import Context, InContext
from gndpo.data.digits import KINDS, DigitsRows
from gndpo.errors import UserError
from gndpo.models.digits import build_processor
from gndpo.models.processor import Processor
from gndpo.prompts import make_prompts

TOLD = Context("{problem} {answer}", "{solution}", share=0.3)
SHORT = Context("system {problem}", "\\boxed{{ {answer} }}", share=0.1)
UNTAUGHT = Context("{steps}", "{solution}", share=0.0)
SELF_TAUGHT = ("privileged_answer", "reasoning_compression", "crosslingual", "harness")


@pytest.fixture(scope="module")
def rows():
    return DigitsRows(
        "test",
        0,
        blocks={"test": [0, 50]},
        kinds=list(KINDS),
        augment=None,
        images=None,
        language="plain",
    )


def shipped(*overrides):
    with initialize_config_dir(config_folder(), version_base="1.3"):
        return compose("train", overrides=["cache_dir=/nowhere", *overrides])


def test_a_context_changes_question_and_solution_and_nothing_else(rows):
    row = rows[3]
    inside = SHORT.around(row)
    assert inside["problem"] == f"system {row['problem']}"
    assert inside["solution"] == f"\\boxed{{ {row['answer']} }}"
    assert {name for name in row if row[name] != inside[name]} == {"problem", "solution"}


def test_every_context_gets_its_share_and_the_rest_stay_as_they_are(rows):
    taught = InContext(rows, [TOLD, UNTAUGHT, SHORT], seed=0)
    found = Counter()
    for i in range(2000):
        plain, row = rows[i], taught[i]
        asked = {
            "plain": plain["problem"],
            "told": f"{plain['problem']} {plain['answer']}",
            "short": f"system {plain['problem']}",
        }
        found[next(name for name, problem in asked.items() if problem == row["problem"])] += 1
    assert found["told"] / 2000 == pytest.approx(0.3, abs=0.03)
    assert found["short"] / 2000 == pytest.approx(0.1, abs=0.03)
    assert found.total() == 2000


def test_who_stands_in_a_context_depends_on_seed_and_index_alone(rows):
    def problems(seed):
        taught = InContext(rows, [TOLD], seed)
        return [taught[i]["problem"] for i in range(40)]

    assert problems(0) == problems(0) != problems(1)


def test_without_contexts_the_rows_are_what_they_were(rows):
    for contexts in ([], [UNTAUGHT]):
        taught = InContext(rows, contexts, seed=0)
        assert [taught[i] for i in range(20)] == [rows[i] for i in range(20)]


@pytest.mark.parametrize("shares", [[0.7, 0.4], [-0.1]])
def test_shares_that_cannot_be(rows, shares):
    with pytest.raises(UserError, match="together at most 1"):
        InContext(rows, [Context("{problem}", "{solution}", share) for share in shares], seed=0)


def test_the_embedded_tokenizer_knows_every_word_of_the_shipped_contexts(rows):
    cfg = shipped("model=digits_contexts")
    processor = Processor(build_processor())
    for name, section in cfg.model.pair.student.contexts.items():
        context = build(section, name)
        inside = [context.around(rows[i]) for i in range(20)]
        prompts = make_prompts(inside, processor, max_tokens=cfg.data.max_prompt_tokens)
        answers = processor.tokenizer([row["solution"] for row in inside])["input_ids"]
        unknown = processor.tokenizer.unk_token_id
        assert unknown not in prompts.renderings["image"].ids_PL
        assert not any(unknown in ids for ids in answers)


def test_a_concise_solution_is_shorter_where_no_running_results_are_needed(rows):
    cfg = shipped("model=digits_contexts")
    concise = build(cfg.model.pair.student.contexts.concise, "concise")
    for i in range(40):
        plain, short = rows[i]["solution"].split(), concise.around(rows[i])["solution"].split()
        easy = rows[i]["kind"] in ("maximum", "minimum")
        assert len(plain) - len(short) == (4 if easy else 0)


@pytest.mark.parametrize("method", SELF_TAUGHT)
def test_a_teacher_is_shown_a_prompt_that_the_student_knows(rows, method):
    cfg = shipped(f"experiment=methods/{method}")
    assert cfg.teacher.weights == "student"
    known = {context.problem for context in cfg.model.pair.student.contexts.values()}
    assert cfg.teacher.context in known
    assert cfg.data.rows.language == ("plain" if "{problem}" in cfg.teacher.context else "foreign")
    assert cfg.model.pair.rows.language == "plain"
