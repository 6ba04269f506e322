"""Texts with columns in braces."""

import string
from collections.abc import Mapping

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
