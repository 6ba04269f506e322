"""Multiple choice: options, letters, and answers that name an option."""

import ast
from string import ascii_uppercase
from typing import Any

from gndpo.data.records import RowError
from gndpo.errors import UserError

FORMS = ("letter", "index", "number", "text")
"""How data name the right option: its letter, its place from 0, from 1, or its words."""


def options(value: Any, row: str) -> list[str]:
    """Options of a list, of a dictionary (its values) or of a list written as a string; nulls are
    left out."""
    if isinstance(value, str) and value.strip():
        value = listed(value)
    if isinstance(value, dict):
        value = list(value.values())
    if value not in (None, "") and not isinstance(value, list):
        raise RowError(row, f"{value!r:.60} is no list of choices", "choices that are no list")
    found = [str(option) for option in value or [] if option is not None]
    if len(found) > len(ascii_uppercase):
        raise RowError(
            row, f"{len(found)} choices are more than letters", "more choices than letters"
        )
    return found


def listed(text: str) -> Any:
    """The list that the text spells, or the text."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):  # the last two: nested too deep
        return text


def lettered(choices: list[str]) -> str:
    """A. first, B. second, ..., one per line."""
    return "\n".join(
        f"{letter}. {text}" for letter, text in zip(ascii_uppercase, choices, strict=False)
    )


def letter_of(answer: str, choices: list[str], form: str, row: str) -> str:
    """The letter of the option that the answer names."""
    letters = list(ascii_uppercase[: len(choices)])
    plain = answer.strip()
    if form == "letter":
        letter = plain.strip("().: ").upper()
        place = letters.index(letter) if letter in letters else -1
    elif form == "text":
        words = [choice.strip().casefold() for choice in choices]
        place = words.index(plain.casefold()) if plain.casefold() in words else -1
    else:
        short = plain.isdecimal() and len(plain) <= len("26")
        place = int(plain) - (form == "number") if short else -1
    if not 0 <= place < len(choices):
        raise RowError(
            row,
            f"the answer {answer!r:.60} is none of its {len(choices)} choices, read as "
            f"data.rows.answer_form={form}",
            "an answer that is no choice",
        )
    return letters[place]


def check_form(form: str) -> None:
    if form not in FORMS:
        raise UserError(f"data.rows.answer_form={form} is unknown; choose {', '.join(FORMS)}")
