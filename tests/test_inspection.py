"""What gndpo-inspect says of a token: scores, ranks, match values, texts; and which tokens are the
most extreme."""

import json
import math
from pathlib import Path

import pytest
import torch
from twins import BUILD
from twins.recipe import Size

from gndpo.inspection.answers import rounded, token_texts
from gndpo.inspection.extremes import extremes, table
from gndpo.inspection.signals import Strategies, columns, kind_of, match_values, see
from gndpo.reads import dry_run
from gndpo.scores import Scores
from gndpo.surrogates import token_weights

OPTIONS = sorted(p.stem for p in (Path(__file__).parents[1] / "conf" / "advantage").glob("*.yaml"))
MATCHING = {
    "match": "decomposed full_kl language_steering sft top_k_kl va_opd vcsd",
    "both": "aopd eopd mix trust_region",
}
KINDS = {name: kind for kind, names in MATCHING.items() for name in names.split()}


def two_tokens():
    """A vocabulary of three ids; the second token is one that the teacher likes least."""
    student = torch.tensor([[[0.5, 0.3, 0.2], [0.2, 0.1, 0.7]]], dtype=torch.double)
    teacher = torch.tensor([[[0.6, 0.3, 0.1], [0.6, 0.3, 0.1]]], dtype=torch.double)
    blind = torch.tensor([[[0.2, 0.2, 0.6], [0.1, 0.1, 0.8]]], dtype=torch.double)
    return Scores.from_logits(
        student=student.log(),
        teacher=teacher.log(),
        teacher_text=blind.log(),
        ids=torch.tensor([[0, 2]]),
        mask=torch.ones(1, 2),
    )


def test_columns_are_those_of_the_definition():
    found = {name: x[0].tolist() for name, x in columns(two_tokens(), sees=True).items()}
    assert found["log_ratio"] == pytest.approx([math.log(0.6 / 0.5), math.log(0.1 / 0.7)])
    assert found["student"] == pytest.approx([math.log(0.5), math.log(0.7)])
    assert found["visual"] == pytest.approx([math.log(0.6 / 0.2), math.log(0.1 / 0.8)])
    assert found["entropy"] == pytest.approx([1.0296530, 0.8018186])
    assert found["teacher_entropy"] == pytest.approx([0.8979457, 0.8979457])
    assert found["rank"] == [1, 3]
    assert "visual" not in columns(two_tokens(), sees=False)


def test_a_token_outranks_itself_never(dense):
    scores = dense().scores()
    logp_BTV = dense().logits["teacher"].log_softmax(-1)
    rank_BT = columns(scores, sees=False)["rank"]
    place_BTV = logp_BTV.argsort(-1, descending=True)
    expected_BT = (place_BTV == scores.ids_BT[..., None]).long().argmax(-1) + 1
    assert torch.equal(rank_BT, expected_BT * scores.mask_BT)


def test_the_value_of_a_match_is_its_divergence(make_strategy):
    scores = two_tokens()
    (match,) = make_strategy("full_kl")(scores).matches
    first = 0.5 * math.log(0.5 / 0.6) + 0.2 * math.log(0.2 / 0.1)
    second = 0.2 * math.log(0.2 / 0.6) + 0.1 * math.log(0.1 / 0.3) + 0.7 * math.log(0.7 / 0.1)
    assert match_values(match, scores)[0].tolist() == pytest.approx([first, second])


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("chunk", [3, 4096])
def test_match_values_are_what_the_loss_adds_up(make_strategy, outcome, dense, name, chunk):
    """Whatever the view, the support, the temperature."""
    given = dense()
    done = outcome(make_strategy(name), given.logits, chunk=chunk, **given.batch)
    weight_BT = token_weights(done.scores.mask_BT, "sequence_mean_token_mean")
    assert done.signal.matches
    for match in done.signal.matches:
        values_BT = match_values(match, done.scores)
        assert not values_BT[~done.scores.mask_BT].any()
        total = (weight_BT * values_BT).sum()
        torch.testing.assert_close(total, done.loss.parts[match.name], atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("name", OPTIONS)
def test_the_kind_is_how_a_strategy_teaches(make_strategy, name):
    assert kind_of(make_strategy(name), 40) == KINDS.get(name, "advantage")


def all_strategies(make_strategy, own="gndpo"):
    return Strategies({name: make_strategy(name) for name in OPTIONS}, own, sees=True)


def test_advantages_are_those_of_each_strategy_alone(make_strategy, dense):
    scores = dense().scores()
    seen = see(scores, all_strategies(make_strategy), 40)
    for name in OPTIONS:
        signal = make_strategy(name)(dense().scores())
        if name in seen.advantages:
            assert torch.equal(seen.advantages[name], signal.advantage_BT)
        else:
            assert not signal.advantage_BT.any()
        assert (name in seen.losses) == bool(signal.matches)
        for note, x_BT in signal.notes.items():
            assert torch.equal(seen.notes[f"{name}/{note}"], x_BT)
    accepted = seen.notes["trust_region/accepted"]
    assert {*accepted[scores.mask_BT].tolist()} == {0.0, 1.0}


def test_all_strategies_read_what_each_of_them_reads(make_strategy):
    together = dry_run(all_strategies(make_strategy), 40)
    for name in OPTIONS:
        alone = dry_run(make_strategy(name), 40)
        assert alone.whole <= together.whole
        for view, requests in alone.requests.items():
            assert requests <= together.requests[view]


def test_only_the_runs_own_strategy_continues_what_it_carried(make_strategy, dense):
    running = make_strategy("gndpo", scope=0.9)
    given = dense()
    before = running(dense(seed=1).scores()).carry
    scores = Scores.from_logits(**given.logits, **given.batch, carry=before)
    fresh = running(given.scores()).advantage_BT
    found = Strategies({"own": running, "other": running}, "own", sees=True).signals(scores)
    assert torch.equal(found["other"].advantage_BT, fresh)
    assert torch.equal(found["own"].advantage_BT, running(scores).advantage_BT)
    assert not torch.equal(found["own"].advantage_BT, fresh)


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        (-12.34567, -12.35),
        (0.000123456, 0.0001235),
        (123456.0, 123500.0),
        (123456, 123456),
        (math.inf, None),
        (math.nan, None),
    ],
)
def test_numbers_have_four_digits_and_json_takes_them(x, expected):
    assert json.loads(json.dumps(rounded(x), allow_nan=False)) == expected


def test_there_is_no_minus_zero():
    assert json.dumps(rounded(-0.0)) == "0.0"


@pytest.mark.parametrize("family", ["internvl", "gemma3", "llava"])
def test_the_texts_of_tokens_add_up_to_the_answer(family):
    """Byte-level tokens and pieces of words, spaces included."""
    tokenizer = BUILD[family](Size(1, 16, None)).tokenizer
    answer = "so x = 12 , yes or no"
    ids = tokenizer(answer, add_special_tokens=False)["input_ids"]

    texts = token_texts(tokenizer, ids)
    assert len(texts) == len(ids)
    assert "".join(texts).strip() == tokenizer.decode(ids).strip()


def answer(prompt, text, ratios):
    tokens = {"text": text, "log_ratio": ratios, "rank": [1] * len(text)}
    return {"prompt": prompt, "images": [], "tokens": tokens, "advantages": {"a": ratios}}


FOUND = [
    answer("p", ["x", "y"], [0.5, -3.0]),
    answer("p", ["x", "z\n"], [0.5, 2.0]),
    answer("q", ["x"], [None]),
]


def test_extremes_are_sorted_and_a_state_is_shown_once():
    assert extremes(FOUND, 9) == [(0, 1), (1, 1), (0, 0), (2, 0)]
    assert extremes(FOUND, 1) == [(0, 1)]


def test_the_table_shows_tokens_as_they_are_on_one_line():
    grid = table([answer("p", ["[/b]", "z\n"], [0.5, 2.0])], 2, ["a"])
    cells = [[str(cell) for cell in column.cells] for column in grid.columns]
    assert cells == [["0"] * 2, ["[/b]", ""], ["z⏎", "[/b]"], ["2", "0.5"], ["1"] * 2, ["2", "0.5"]]
