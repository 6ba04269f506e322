"""Student and teacher must read the same ids and the same pixels: what differs is named at
start-up."""

import logging
from typing import Any

from gndpo.errors import UserError
from gndpo.models.processor import Processor
from gndpo.models.vocabulary import Vocabulary

log = logging.getLogger(__name__)


def check_tokens(student: Processor, teacher: Processor) -> None:
    """Every id that both have stands for the same token; ids that only one has are cut off."""
    ours, theirs = tokens_by_id(student), tokens_by_id(teacher)
    differing = sorted(i for i in ours.keys() & theirs.keys() if ours[i] != theirs[i])
    if differing:
        shown = ", ".join(f"{i} is {ours[i]!r} and {theirs[i]!r}" for i in differing[:3])
        raise UserError(
            f"student and teacher disagree on token ids, {len(differing)} of them ({shown}); "
            "on-policy distillation needs one tokenizer for both"
        )


def tokens_by_id(processor: Processor) -> dict[int, str]:
    return {i: token for token, i in processor.tokenizer.get_vocab().items()}


def check_pixels(student: Processor, teacher: Processor) -> None:
    """One image processing for both: they are given the same pixels."""
    classes = [type(processor.image_processor) for processor in (student, teacher)]
    if classes[0] is not classes[1]:
        ours, theirs = ("none" if x is type(None) else x.__name__ for x in classes)
        raise UserError(
            "student and teacher preprocess images differently: their image processors are "
            f"{ours} and {theirs}; take both models from one family"
        )
    pixels, others = image_settings(student), image_settings(teacher)
    for key in sorted(pixels.keys() | others.keys()):
        if pixels.get(key) != others.get(key):
            raise UserError(
                f"student and teacher preprocess images differently: {key} is {pixels.get(key)} "
                f"and {others.get(key)}; "
                "give both the same image processor"
            )


def image_settings(processor: Processor) -> dict[str, Any]:
    settings = processor.image_processor
    return {} if settings is None else dict(settings.to_dict())


def check_ends(student: Vocabulary, teacher: Vocabulary, processor: Processor) -> None:
    """An end that only one knows is logged: the other goes on behind it. None in common is
    refused: no answer would end where the teacher ends it."""

    def names(ids: set[int]) -> str:
        tokens = zip(
            sorted(ids), processor.tokenizer.convert_ids_to_tokens(sorted(ids)), strict=True
        )
        return ", ".join(token or f"id {i}" for i, token in tokens)

    ours, theirs = {*student.eos}, {*teacher.eos}
    if not ours & theirs:
        raise UserError(
            f"no token ends an answer for both student ({names(ours)}) and teacher "
            f"({names(theirs)}); name the ends of both with model.eos=[...]"
        )
    if ours != theirs:
        log.info(
            "answers end with %s; the teacher's own ends are %s (model.eos=[...] changes both)",
            names(ours),
            names(theirs),
        )
