"""What all console scripts have in common: they show no secrets, a mistake of the user is one
sentence, and a reader that leaves early (`gndpo-list | head`) is no error."""

import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import wraps
from typing import Any, TextIO, cast

from gndpo.secrets import hidden, remember

FULL = "HYDRA_FULL_ERROR"
"""With 1 a traceback is shown for every error, and Hydra hands errors on instead of printing them
itself."""
OURS = "GNDPO_SENTENCES"
"""Set beside it where nobody asked for tracebacks: commands that this one starts inherit both."""


class Shown:
    """A stream whose texts go through `hidden`."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        return self.stream.write(hidden(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def console(main: Callable[..., None]) -> Callable[..., None]:
    """A console script of `main`."""

    @wraps(main)
    def script(*arguments: Any) -> None:
        remember(sys.argv[1:])
        out, err = (cast(TextIO, Shown(stream)) for stream in (sys.stdout, sys.stderr))
        with redirect_stdout(out), redirect_stderr(err), errors_handed_on() as asked:
            try:
                try:
                    main(*arguments)
                finally:
                    out.flush()
            except BrokenPipeError:
                os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())  # for the flush at the end
                sys.exit(1)
            except Exception as error:  # as Python would, but without secrets
                show(error, asked)
                sys.exit(1)

    return script


@contextmanager
def errors_handed_on() -> Iterator[bool]:
    """Hydra hands errors on. Gives whether the user asked for tracebacks."""
    asked = os.environ.get(FULL) == "1" and OURS not in os.environ
    before = {name: os.environ.get(name) for name in (FULL, OURS)}
    os.environ |= {FULL: "1"} if asked else {FULL: "1", OURS: "1"}
    try:
        yield asked
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            os.environ |= {} if value is None else {name: value}


def show(error: Exception, asked: bool) -> None:
    """asked: for the traceback."""
    from gndpo.mistakes import sentence  # brings Hydra

    text = None if asked else sentence(error)
    if text is None:
        traceback.print_exception(error)
    else:
        print(text, file=sys.stderr)
