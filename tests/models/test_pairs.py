"""Student and teacher read the same: every difference is one sentence, and what only one has is cut
off."""

import copy
import logging

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast
from twins import FAMILIES
from twins.reading import allowed

from gndpo.errors import UserError
from gndpo.models.digits import build_processor
from gndpo.models.pairs import check_ends, check_pixels, check_tokens
from gndpo.models.processor import Processor
from gndpo.models.vocabulary import Vocabulary
from gndpo.policies import share
from gndpo.teachers import Teachers
from tests.models import conftest as models

families = models.families


def speaks(*tokens):
    ids = {token: i for i, token in enumerate(tokens) if token is not None}
    tokenizer = Tokenizer(WordLevel(ids, unk_token=tokens[0]))
    return Processor(PreTrainedTokenizerFast(tokenizer_object=tokenizer))


def refused(check, *arguments):
    with pytest.raises(UserError) as error:
        check(*arguments)
    return str(error.value)


@pytest.mark.parametrize("family", FAMILIES)
def test_checkpoints_of_one_family_agree(families, family, caplog):
    caplog.set_level(logging.INFO)
    pair = families(family)
    ours, theirs = (models.load_processor(path) for path in (pair.student, pair.teacher))
    check_tokens(ours, theirs)
    check_pixels(ours, theirs)
    check_ends(pair.policy("student").vocabulary, pair.policy("teacher").vocabulary, ours)
    assert not [record for record in caplog.records if record.name == "gndpo.models.pairs"]


def test_ids_that_only_one_has_are_no_difference():
    ours = speaks("a", "b", "c")
    for theirs in (speaks("a", "b", "c", "d"), speaks("a", "b"), speaks("a", None, "c")):
        check_tokens(ours, theirs)
        check_tokens(theirs, ours)


def test_ids_of_different_tokens_are_named():
    ours = speaks("a", "b", "c", "d", "e")
    assert refused(check_tokens, ours, speaks("a", "b", "x", "d")) == (
        "student and teacher disagree on token ids, 1 of them (2 is 'c' and 'x'); "
        "on-policy distillation needs one tokenizer for both"
    )
    assert refused(check_tokens, ours, speaks("b", "c", "a", "e", "d")) == (
        "student and teacher disagree on token ids, 5 of them (0 is 'a' and 'b', 1 is 'b' and 'c', "
        "2 is 'c' and 'a'); on-policy distillation needs one tokenizer for both"
    )


def looks(**changes):
    own = build_processor()
    for name, value in changes.items():
        setattr(own.image_processor, name, value)
    return Processor(own)


def test_pixels_must_be_the_same():
    check_pixels(looks(), looks())
    check_pixels(speaks("a"), speaks("b"))  # no pixels at all
    assert refused(check_pixels, looks(image_mean=[0.3] * 3), looks(image_mean=[0.5] * 3)) == (
        "student and teacher preprocess images differently: image_mean is [0.3, 0.3, 0.3] and "
        "[0.5, 0.5, 0.5]; give both the same image processor"
    )
    assert refused(check_pixels, looks(), looks(max_patches=12)) == (
        "student and teacher preprocess images differently: max_patches is 1 and 12; "
        "give both the same image processor"
    )


def test_a_model_without_eyes_does_not_see_what_the_other_sees():
    for pair in ((looks(), speaks("a")), (speaks("a"), looks())):
        sentence = refused(check_pixels, *pair)
        assert sentence.startswith("student and teacher preprocess images differently: ")
        assert "none" in sentence
        assert sentence.endswith("take both models from one family")


def ends(*ids):
    return Vocabulary(size=5, eos=ids, pad=0, forbidden=(0,))


def test_one_end_in_common_is_needed():
    words = speaks("a", "b", "c", "d", "e")
    assert refused(check_ends, ends(2, 1), ends(4), words) == (
        "no token ends an answer for both student (b, c) and teacher (e); "
        "name the ends of both with model.eos=[...]"
    )


def test_an_end_that_only_one_knows_is_logged(caplog):
    caplog.set_level(logging.INFO, logger="gndpo.models.pairs")
    words = speaks("a", "b", "c", "d", "e")
    check_ends(ends(2, 1), ends(1, 2), words)
    assert not caplog.messages
    check_ends(ends(1, 2), ends(4, 2), words)
    assert caplog.messages == [
        "answers end with b, c; the teacher's own ends are c, e (model.eos=[...] changes both)"
    ]


def test_all_heads_are_cut_to_the_ids_that_all_can_write(student, teacher):
    """Three policies; the answers end where the student's end."""
    student, first, second = (copy.deepcopy(policy) for policy in (student, teacher, teacher))
    student.write_only(Vocabulary(size=42, eos=(1, 3), pad=2, forbidden=(2, 40)))
    first.write_only(Vocabulary(size=44, eos=(1,), pad=2, forbidden=(2, 40, 41, 43)))
    second.write_only(Vocabulary(size=41, eos=(3,), pad=0, forbidden=(0, 1)))
    share(student, Teachers({"sum": first, "top": second}, column="kind"))
    expected = Vocabulary(size=41, eos=(1, 3), pad=2, forbidden=(0, 2, 40))
    for policy in (student, first, second):
        assert policy.vocabulary == expected
        assert allowed(policy).sum() == 38
