"""Who reads what a command prints may have seen enough, as in `python -m tasks | head -1`. That is no error."""

import os
import select
import sys
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

CLOSED = 141  # 128 + SIGPIPE: what a shell says of a command whose reader has left
Given = ParamSpec("Given")


def quiet(main: Callable[Given, int]) -> Callable[Given, int]:
    """`main`, which returns an exit code, ends with CLOSED and without a word once its reader has left.

    Not by SIGPIPE's own action: a socket whose other end has gone would end the process too.
    """

    @wraps(main)
    def command(*given: Given.args, **named: Given.kwargs) -> int:
        try:
            try:
                return main(*given, **named)
            finally:
                sys.stdout.flush()  # here and not at exit, where nothing can be caught
        except BrokenPipeError:
            if not reader_left():
                raise
            nowhere = os.open(os.devnull, os.O_WRONLY)
            for stream in (sys.stdout, sys.stderr):
                os.dup2(nowhere, stream.fileno())  # exit flushes what is still to be written
            return CLOSED

    return command


def reader_left() -> bool:
    """Whether stdout or stderr is a pipe that nobody reads any more."""
    asked = select.poll()
    for stream in (sys.stdout, sys.stderr):
        asked.register(stream.fileno(), 0)
    return any(event & select.POLLERR for _, event in asked.poll(0))
