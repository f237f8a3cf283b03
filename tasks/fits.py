"""What in params.yaml cannot go together, though each entry by itself is right."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from tutelage.methods import METHODS
from tutelage.methods.detection import DETECTION_METHODS


def check_alone(runs: Mapping[str, Any]) -> None:
    """Raises ValueError where one of `runs`, a Train or none by its name, learns from a teacher. These have none."""
    for section, train in runs.items():
        if train is not None and train.method.teacher == "given":
            name = name_of(train.method)
            raise ValueError(
                f"{section}.method is {name}, which learns from a teacher, and {section} has none: write supervised "
                f"there, and {name} as the method of a student"
            )


def check_chain(rounds: Mapping[int, Any], above: str, last: int) -> None:
    """Raises ValueError unless each of `rounds` is taught by the one before it, and the first by the teacher; `last` is
    the number of the last one, which alone may learn from the hold-out. `above` is the folder of all of them."""
    first = f"{above}/teacher"
    chain = {n: first if n == 1 else f"{above}/rounds/{n - 1}/guard" for n in range(1, max(len(rounds), 1) + 1)}
    written = {n: item.teacher for n, item in rounds.items()}
    if written != chain:
        entries = ", ".join(f'"{n}": {{teacher: {teacher}}}' for n, teacher in chain.items())
        raise ValueError(f"rounds is {written}, but rounds are numbered from 1 and chained: write {entries}")
    if last != len(rounds):
        raise ValueError(f"last is {last}, but the last round is {len(rounds)}")
    for n, item in rounds.items():
        if item.holdout and n < last:
            raise ValueError(
                f"rounds.{n}.holdout is true, but round {n + 1} calibrates its student on the hold-out. "
                "Only the last round may learn from it"
            )


def check_start(networks: Sequence[Any], start: str) -> None:
    """Raises ValueError where a student cannot start from its teacher's weights: of `networks` each is taught by the
    one before it."""
    for n, (teacher, student) in enumerate(pairwise(networks), start=1):
        if start == "teacher" and teacher != student:
            raise ValueError(
                f"student.start is 'teacher', but rounds.{n}.network makes of {teacher} the student {student}, which "
                f"cannot have its weights: write student.start: scratch, or leave rounds.{n}.network out"
            )


def check_networks(section: str, method: Any, *networks: Any) -> None:
    """Raises ValueError where `method` does not train one of the `networks`."""
    for network in networks:
        if method.only not in ("", network.name):
            name = name_of(method)
            raise ValueError(
                f"{section}.method is {name}, which trains {method.only} alone, but the network is {network.name}. "
                f"Set network.name to {method.only}, or choose another method"
            )


def name_of(method: Any) -> str:
    """What params.yaml calls a method."""
    return next(name for table in (METHODS, DETECTION_METHODS) for name, kind in table.items() if kind is type(method))
