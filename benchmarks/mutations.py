"""Do the tests of each loss see an error in it?  python -m benchmarks.mutations [LOSSES ...] [--methods]

Errors are planted one at a time into each function of src/tutelage/losses (`--methods`: into each method's `loss`), and
the tests of that file alone are run. Nothing is written: a child process gets the changed function in memory, and the
tests run in it until one fails. Exits 1 for a survivor that is not in SURVIVORS, and for a kind of error that a
function has a place for and that no test sees.
"""

import argparse
import inspect
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import FunctionType

import pytest

from benchmarks.planting import Mutant, functions, plant
from benchmarks.survivors import SURVIVORS

ROOT = Path(__file__).parents[1]
LIBRARY = ROOT / "src" / "tutelage"
TEST_SECONDS = 20  # more is a failure: the error made it endless
CAUGHT, SURVIVED = 1, 0


@dataclass(frozen=True)
class Target:
    """A module whose functions, or methods called `method`, get errors, and the file of tests that shall see them."""

    module: str
    source: Path
    tests: Path
    method: str | None = None

    @property
    def name(self) -> str:
        return self.source.stem


@dataclass(frozen=True)
class Outcome:
    target: str
    mutant: Mutant
    caught: bool

    @property
    def name(self) -> str:
        return f"{self.target}.{self.mutant.name}"


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("names", nargs="*", metavar="LOSSES", help="a file of losses, or of a method; all if none")
    arguments.add_argument("--methods", action="store_true", help="the methods' files instead")
    asked = arguments.parse_args()
    known = {target.name: target for target in targets(methods=asked.methods)}
    if unknown := set(asked.names) - set(known):
        arguments.error(f"no such file: {', '.join(sorted(unknown))}. Choose from {', '.join(known)}")
    outcomes = run([known[name] for name in asked.names or known])
    print("\n".join(table(outcomes)))
    wrong = [*unexplained(outcomes, SURVIVORS), *unseen(outcomes, SURVIVORS)]
    print("\n".join(wrong) or "every survivor has a reason, and every kind of error is seen in every function")
    return 1 if wrong or not outcomes else 0


def targets(*, methods: bool) -> list[Target]:
    """What a test file of the same name shall cover."""
    folder, method = ("methods", "loss") if methods else ("losses", None)
    found = []
    for source in sorted((LIBRARY / folder).glob("*.py")):
        if functions(source.read_text(), method):
            tests = ROOT / "tests" / folder / f"test_{source.stem}.py"
            found.append(Target(f"tutelage.{folder}.{source.stem}", source, tests, method))
    return found


def run(wanted: list[Target]) -> list[Outcome]:
    """Plant every error and say which were caught. Raises RuntimeError where tests fail without any."""
    plugin = Planter(wanted)
    options = ["-s", "-x", "-p", "no:terminal", "-p", "no:cacheprovider", "-n", "0"]
    if (ROOT / "pyproject.toml") in {parent / "pyproject.toml" for target in wanted for parent in target.tests.parents}:
        options += ["-o", f"timeout={TEST_SECONDS}"]
    status = pytest.main([*options, *(str(target.tests) for target in wanted)], plugins=[plugin])
    if status or plugin.broken:
        raise RuntimeError(f"tests do not pass as they are: {', '.join(plugin.broken) or status}")
    return plugin.outcomes


class Planter:
    """Takes the place of pytest's loop over the collected tests: they are run once for each error, in a child."""

    def __init__(self, wanted: list[Target]) -> None:
        self.wanted = wanted
        self.outcomes: list[Outcome] = []
        self.broken: list[str] = []

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        session.config.option.tbstyle = "no"  # nobody reads why a mutant fails
        for target in self.wanted:
            items = [item for item in session.items if item.path == target.tests]
            # Here and not in a child, which would leave every other child to import what tests import late.
            if not items or _first_failure(session, items):
                self.broken.append(target.name)
                continue
            for name, function in functions(target.source.read_text(), target.method).items():
                place = in_place(target, name)
                for mutant in plant(name, function):
                    caught = _in_child(session, items, place, mutant) != SURVIVED
                    self.outcomes.append(Outcome(target.name, mutant, caught))
            print(f"@progress {target.name}: {len(self.outcomes)} errors so far", file=sys.stderr, flush=True)
        return True


def in_place(target: Target, name: str) -> FunctionType:
    """The function itself, without what checks its shapes."""
    found = import_module(target.module)
    for part in name.split("."):
        found = getattr(found, part)
    function = inspect.unwrap(found)  # type: ignore[arg-type]  # what getattr finds, here a function
    assert isinstance(function, FunctionType)
    return function


def exchange(function: FunctionType, mutant: Mutant) -> None:
    """Make `function` what the mutant says, for all who hold it."""
    space = dict(function.__globals__)
    exec(mutant.source, space)
    other = space[mutant.function.rpartition(".")[2]]
    function.__code__, function.__defaults__ = other.__code__, other.__defaults__
    function.__kwdefaults__ = other.__kwdefaults__


def _in_child(session: pytest.Session, items: list[pytest.Item], place: FunctionType, mutant: Mutant) -> int:
    """Status of the child: CAUGHT, SURVIVED, or that of a child that died, which is caught too."""
    child = os.fork()
    if not child:
        _silence()
        status = CAUGHT
        try:
            exchange(place, mutant)
            status = _first_failure(session, items)
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1]


def _first_failure(session: pytest.Session, items: list[pytest.Item]) -> int:
    for item, after in zip(items, [*items[1:], None], strict=True):
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
        if session.testsfailed:
            return CAUGHT
    return SURVIVED


def _silence() -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)


def table(outcomes: Iterable[Outcome]) -> Iterator[str]:
    """A line a function: for each kind of error how many were caught of those planted; at last all of them."""
    counts: dict[str, dict[str, list[bool]]] = {}
    for outcome in outcomes:
        kinds = counts.setdefault(f"{outcome.target}.{outcome.mutant.function}", {})
        kinds.setdefault(outcome.mutant.kind, []).append(outcome.caught)
    yield from (f"{name:44} {', '.join(map(_share, kinds.items()))}" for name, kinds in counts.items())
    every = [caught for kinds in counts.values() for found in kinds.values() for caught in found]
    yield f"{sum(every)} of {len(every)} errors in {len(counts)} functions were caught"


def _share(pair: tuple[str, list[bool]]) -> str:
    return f"{pair[0]} {sum(pair[1])}/{len(pair[1])}"


def unexplained(outcomes: Sequence[Outcome], known: Mapping[str, str]) -> Iterator[str]:
    """Survivors without a reason, and reasons for errors that are caught or no longer there."""
    survived = {outcome.name: outcome.mutant for outcome in outcomes if not outcome.caught}
    for name, mutant in survived.items():
        if name not in known:
            yield f"SURVIVED line {mutant.line}, {mutant.kind}: {name}"
    seen = {f"{outcome.target}." for outcome in outcomes}
    for name in known:
        if name not in survived and name.startswith(tuple(seen)):
            yield f"NOT A SURVIVOR, take it out of benchmarks/survivors.py: {name}"


def unseen(outcomes: Sequence[Outcome], known: Mapping[str, str]) -> Iterator[str]:
    """Kinds of error that a function has a place for, and of which nothing is caught: equal ones left out."""
    kinds: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in outcomes:
        if outcome.caught or outcome.name not in known:
            kinds.setdefault((f"{outcome.target}.{outcome.mutant.function}", outcome.mutant.kind), []).append(outcome)
    for (function, kind), found in kinds.items():
        if not any(outcome.caught for outcome in found):
            yield f"UNSEEN KIND in {function}: {kind}"


if __name__ == "__main__":
    sys.exit(main())
