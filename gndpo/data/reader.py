"""From the columns of a data set to a row: which column is what, and how the prompt is put."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gndpo.data.choices import check_form, letter_of, lettered, options
from gndpo.data.images import decoded, flat, placed
from gndpo.data.records import Record, RowError, text_at, value_at
from gndpo.data.rows import Row
from gndpo.data.templates import fill
from gndpo.errors import UserError


@dataclass(frozen=True)
class Fields:
    """Which column is what: names or dotted paths, null for none. images and choices may be lists
    of columns. further: name in templates -> column."""

    images: str | Sequence[str] | None
    problem: str | None
    answer: str | None
    choices: str | Sequence[str] | None
    solution: str | None
    kind: str | None
    further: Mapping[str, str]

    @property
    def columns(self) -> list[str]:
        """All of them, in the order above."""
        texts = [self.problem, self.answer, self.solution, self.kind, *self.further.values()]
        return [*several(self.images), *several(self.choices), *(x for x in texts if x is not None)]


def several(columns: str | Sequence[str] | None) -> list[str]:
    return [] if columns is None else [columns] if isinstance(columns, str) else list(columns)


class Reader:
    """Rows of records.

    folder: where relative image paths start. replace: (regular expression, replacement) pairs for
    the problem, in order. answer_pattern: regular expression whose first group is the answer; null:
    all of the column. answer_form: how the answer names one of the choices. template: the prompt,
    with problem, choices, kind and the further columns in braces.
    """

    def __init__(
        self,
        fields: Fields,
        folder: Path | None,
        replace: Sequence[tuple[str, str]],
        answer_pattern: str | None,
        answer_form: str,
        template: str,
    ) -> None:
        check_form(answer_form)
        self.fields, self.folder, self.template = fields, folder, template
        self.answer_form = answer_form
        self.replace = [replacement(old, new) for old, new in replace]
        self.answer_pattern = (
            None if answer_pattern is None else compiled(answer_pattern, "answer_pattern")
        )
        if self.answer_pattern is not None and self.answer_pattern.groups == 0:
            raise UserError(
                f"data.rows.answer_pattern={answer_pattern} has no group; put the answer's part "
                "in parentheses"
            )

    def row(self, record: Record, name: str) -> Row:
        fields = self.fields
        choices = self.choices(record, name)
        further = {key: text_at(record, path, name) for key, path in fields.further.items()}
        kind = text_at(record, fields.kind, name)
        columns = {"problem": self.problem(record, name), "choices": lettered(choices)}
        text = fill(self.template, further | {"kind": kind} | columns).strip()
        text, images = placed(text, self.images(record, name), name)
        if not text:
            raise RowError(name, "its problem is empty", "an empty problem")
        return Row(
            name=name,
            images=[decoded(image, self.folder, name) for image in images],
            problem=text,
            answer=self.answer(record, choices, name),
            choices=choices,
            solution=text_at(record, fields.solution, name),
            kind=kind,
            fields=further,
        )

    def problem(self, record: Record, name: str) -> str:
        """The question, before it is put into the template."""
        text = text_at(record, self.fields.problem, name)
        for pattern, new in self.replace:
            text = pattern.sub(new, text)
        return text

    def images(self, record: Record, name: str) -> list[Any]:
        """As the data hold them."""
        columns = several(self.fields.images)
        return [x for column in columns for x in flat(value_at(record, column, name))]

    def identity(self, record: Record, name: str) -> int:
        """The same for the same problem about the same images, in this process."""
        images = [
            repr(x.get("bytes") or x) if isinstance(x, dict) else x
            for x in self.images(record, name)
        ]
        return hash((self.problem(record, name), *images))

    def choices(self, record: Record, name: str) -> list[str]:
        columns = several(self.fields.choices)
        if isinstance(self.fields.choices, str):
            return options(value_at(record, columns[0], name), name)
        return options([value_at(record, column, name) for column in columns], name)

    def answer(self, record: Record, choices: list[str], name: str) -> str:
        """As the reward compares it: the letter, where there are choices; "" where the data have
        no answers."""
        if self.fields.answer is None:
            return ""
        text = text_at(record, self.fields.answer, name).strip()
        if not text:
            raise RowError(name, "its answer is empty", "an empty answer")
        if self.answer_pattern is not None:
            found = self.answer_pattern.search(text)
            if found is None:
                raise RowError(
                    name,
                    f"its answer {text!r:.60} does not fit "
                    f"data.rows.answer_pattern={self.answer_pattern.pattern}",
                    "an answer of another pattern",
                )
            text = found[1].strip()
        return letter_of(text, choices, self.answer_form, name) if choices else text


def compiled(pattern: str, key: str) -> re.Pattern[str]:
    """Dots match line breaks too."""
    try:
        return re.compile(pattern, re.DOTALL)
    except re.error as error:
        raise UserError(f"data.rows.{key}={pattern} is no regular expression: {error}") from error


def replacement(pattern: str, new: str) -> tuple[re.Pattern[str], str]:
    """A pair of `replace`; a text that names a group which the pattern lacks is refused."""
    found = compiled(pattern, "replace")
    try:
        found.sub(new, "")
    except (re.error, IndexError) as error:
        raise UserError(
            f"data.rows.replace: {new!r} cannot stand for {pattern}: {error}"
        ) from error
    return found, new
