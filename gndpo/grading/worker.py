"""A worker of the pool: reads pickled work from standard input, writes True or False."""

import logging
import os
import pickle
import resource
import signal
import sys

import math_verify

from gndpo.grading.graders import equivalent

MEMORY = 4 * 2**30
"""Bytes that a worker may reserve: numbers with 9**9**9 digits should not fill the machine."""


def main(timeout: float) -> None:
    """`timeout`: seconds of processor time for each work, so that a busy neighbour changes no
    grade; then SIGPROF ends the process, whatever it is doing."""
    assert math_verify  # imported before any clock runs
    logging.disable()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)  # the parent's; its end is ours
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    results = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no result
    equivalent("x+1", "1+x")  # grammars are built at the first call
    while True:
        try:
            function, arguments = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        signal.setitimer(signal.ITIMER_PROF, timeout)
        found = bool(function(*arguments))
        signal.setitimer(signal.ITIMER_PROF, 0)
        results.write(b"%r\n" % found)
        results.flush()


if __name__ == "__main__":
    main(float(sys.argv[1]))
