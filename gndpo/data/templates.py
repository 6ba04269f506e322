"""Texts with columns in braces."""

import string
from collections.abc import Mapping

from gndpo.data.choices import lettered
from gndpo.data.rows import Row
from gndpo.errors import UserError


def fill(template: str, columns: Mapping[str, str]) -> str:
    """The template with columns in place of their names."""
    try:
        for _, name, _, _ in string.Formatter().parse(template):
            if name is not None and name not in columns:
                raise UserError(
                    f"the template {template!r} names the column '{name}', the data has "
                    f"{', '.join(sorted(columns))}; write braces that are not a column's twice"
                )
        return template.format(**columns)
    except (KeyError, ValueError) as error:
        raise UserError(
            f"the template {template!r} cannot be read ({error}); write braces that are not a "
            "column's twice"
        ) from error


def filled(template: str, row: Row) -> str:
    """The template with a row's columns in place of their names."""
    return fill(template, columns_of(row))


def columns_of(row: Row) -> dict[str, str]:
    """Everything that a template, or the choice of a teacher, may name."""
    plain = {
        "problem": row["problem"],
        "answer": row["answer"],
        "solution": row["solution"],
        "kind": row["kind"],
        "choices": lettered(row["choices"]),
    }
    return plain | row["fields"]
