"""What all console scripts have in common: they show no secrets, and a reader that leaves early
(`gndpo-list | head`) is no error."""

import os
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from functools import wraps
from typing import Any, TextIO, cast

from gndpo.secrets import hidden, remember


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
        with redirect_stdout(out), redirect_stderr(err):
            try:
                try:
                    main(*arguments)
                finally:
                    out.flush()
            except BrokenPipeError:
                os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())  # for the flush at the end
                sys.exit(1)

    return script
