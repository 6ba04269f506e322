"""The one exception that users see."""

from hydra.errors import CompactHydraException


class UserError(CompactHydraException):
    """A mistake that the user can mend. Hydra prints the message alone, without a traceback, and
    exits with 1.

    The message is one sentence: what failed, what was found, what is allowed, what to type.
    """

    def __str__(self) -> str:
        """On one line, whatever was typed or read."""
        return " ".join(super().__str__().splitlines())
