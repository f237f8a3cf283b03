"""Refusals of a stage that another one runs: they name the params that were read."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tutelage.types import BadInput

Words = Mapping[str, str]  # what is said instead
NONE: Words = {}


def reworded(line: str, words: Words) -> str:
    """`line` with each of `words` in place of the one it stands for, in their order."""
    for ours, theirs in words.items():
        line = line.replace(ours, theirs)
    return line


@contextmanager
def refusals(words: Words) -> Iterator[None]:
    """Whatever is refused inside is refused in these words."""
    try:
        yield
    except BadInput as error:
        raise BadInput(reworded(str(error), words)) from error
