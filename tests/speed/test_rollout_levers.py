"""Whatever makes writing faster, what is written stays the same, and less is computed."""

import shutil
from itertools import pairwise

import pytest
import torch

from gndpo.encodings import Encodings
from gndpo.errors import UserError
from gndpo.policy import Policy
from gndpo.prompts import Prompts
from gndpo.reading import Speed
from gndpo.rng import uniform
from gndpo.rollout import Guide, Script, generate
from gndpo.scores import TEACHER

P, G, T = 3, 4, 12
B = P * G


@pytest.fixture(scope="module")
def draws():
    return torch.from_numpy(uniform(5, "tokens", 0, range(B), T))


@pytest.fixture(scope="module")
def write(student, renderings, draws):
    def written(speed=Speed(), **options):  # noqa: B008
        given = {"group": G, "max_tokens": T, "uniform_BT": draws, "keep_hidden": True}
        return generate(student, renderings["image"], speed=speed, **(given | options))

    return written


def script_of(length_B, ends=()):
    """Numbered tokens of another author; in some rows the last one that is given is an end."""
    length_B = torch.tensor(length_B)
    ids_BT = (5 + torch.arange(T)).expand(len(length_B), T).clone()
    for b in ends:
        ids_BT[b, length_B[b] - 1] = 1
    logp_BT = torch.full(ids_BT.shape, -0.5).double()
    return Script(ids_BT, length_B, logp_BT, torch.full_like(ids_BT, TEACHER))


@pytest.fixture(scope="module")
def extras(teacher, renderings):
    guide = Guide(teacher, renderings["text"], 0.3)
    ragged = script_of([5, 8, 6, 5] * P, ends=(1, 6))
    return {
        "alone": {},
        "greedy": {"uniform_BT": None},
        "script": {"script": ragged},
        "some": {"script": script_of([0, 7, 3, 12] * P)},
        "whole": {"script": script_of([T] * B)},
        "guide": {"guide": guide},
        "both": {"script": ragged, "guide": guide},
        "parts": {"script": ragged, "micro": 2},
    }


EXTRAS = ("alone", "greedy", "script", "some", "whole", "guide", "both", "parts")
LEVERS = {
    "compact": Speed(compact=0.5),
    "grow": Speed(grow=True),
    "ahead": Speed(ahead=True),
    "all": Speed(compact=0.9, grow=True, ahead=True),
    "compile": Speed(compile=True),
    "compile ahead": Speed(compile=True, ahead=True),
}


def assert_same(got, expected, atol=1e-9):
    for name in ("ids_BT", "length_B", "truncated_B", "author_BT"):
        assert torch.equal(getattr(got, name), getattr(expected, name)), name
    for name in ("logp_BT", "hidden_BTH"):
        torch.testing.assert_close(getattr(got, name), getattr(expected, name), atol=atol, rtol=0)


@pytest.mark.parametrize("extra", EXTRAS)
@pytest.mark.parametrize("lever", LEVERS)
def test_every_lever_leaves_the_answers_as_they_are(write, extras, lever, extra):
    """The same tokens, and their log-probabilities and hidden states; where a forward would be
    compiled, with what is given to the compiler."""
    with torch.compiler.set_stance("force_eager"):
        assert_same(write(LEVERS[lever], **extras[extra]), write(**extras[extra]))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler")
@pytest.mark.parametrize("extra", ["alone", "both"])
def test_a_compiled_forward_writes_the_same(write, extras, extra):
    """Its float32 parts (norms) round differently."""
    assert_same(write(Speed(compile=True), **extras[extra]), write(**extras[extra]), atol=1e-6)


@pytest.fixture
def forwards(monkeypatch):
    """Rows and tokens of every forward behind the prompts."""
    shapes = []
    advance = Policy.advance

    def counted(policy, prefix, ids_Bt, written):
        shapes.append(tuple(ids_Bt.shape))
        return advance(policy, prefix, ids_Bt, written)

    monkeypatch.setattr(Policy, "advance", counted)
    return shapes


@pytest.mark.parametrize("compact", [0.5, 0.75, 0.9])
def test_a_batch_shrinks_when_few_of_it_are_left(write, forwards, compact):
    """To those who are alive, as soon as they are no more than that share of it."""
    length_B = write(Speed(compact=compact)).length_B
    expected, rows = [], B
    for t in range(1, T):
        living = int((length_B > t).sum())
        rows = living if living <= compact * rows else rows
        expected.append((rows, 1))
    assert forwards == expected
    assert any(a > b for a, b in pairwise(expected))


def test_without_it_everyone_stays(write, forwards):
    write(Speed(grow=True))
    assert forwards == [(B, 1)] * (T - 1)


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ([5, 8, 6, 5] * P, [5] + [1] * 6),  # five for all, and what follows one by one
        ([0, 8, 6, 5] * P, [1] * 11),  # one has nothing
        ([T] * B, [5, 5, 1]),  # nothing needs to be read behind the last token
    ],
)
def test_what_all_scripts_give_is_read_at_once(write, forwards, lengths, expected):
    """Prompts of at most 22 tokens, a quarter of that for each of their four answers."""
    write(Speed(ahead=True), script=script_of(lengths))
    assert [t for _, t in forwards] == expected
    forwards.clear()
    write(script=script_of(lengths))
    assert [t for _, t in forwards] == [1] * 11


def test_prompts_that_are_remembered_stay_as_they_were_read(student, renderings, draws):
    """Growing and fixed caches take a prompt's tensors and never write into them."""
    image = renderings["image"]
    read = Encodings(student, Prompts([{}] * P, [""] * P, {"image": image}), images=False)
    layers = read.prefix(image).cache.layers
    before = [(layer.keys.clone(), layer.values.clone()) for layer in layers]
    try:
        student.memory = read
        for speed in LEVERS.values():
            with torch.compiler.set_stance("force_eager"):
                generate(student, image, group=1, max_tokens=T, uniform_BT=draws, speed=speed)
    finally:
        student.memory = None
    for layer, (keys, values) in zip(layers, before, strict=True):
        assert torch.equal(layer.keys, keys)
        assert torch.equal(layer.values, values)


@pytest.mark.parametrize(
    ("knobs", "sentence"),
    [
        ({"compact": 0.0}, "compact=0.0: it is a share of the batch; use a number between 0 and 1"),
        ({"compact": 1.0}, "compact=1.0: it is a share of the batch; use a number between 0 and 1"),
        ({"compile": True, "grow": True}, "compile=true needs caches that keep their shape; use"),
        ({"compile": True, "compact": 0.5}, "compile=true needs caches that keep their shape"),
    ],
)
def test_speeds_that_cannot_be_are_refused(knobs, sentence):
    with pytest.raises(UserError, match=f"rollout.speed.{sentence}"):
        Speed(**knobs)
