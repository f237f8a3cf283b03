"""A lineage as a page for a terminal."""

import json
from collections.abc import Iterable, Iterator, Sequence
from textwrap import wrap
from typing import Any

from tasks.lineage import Lineage, Step
from tasks.lineage_facts import described, short
from tasks.locked import Entry

WIDTH, INDENT = 120, 16
STAY = "\N{NO-BREAK SPACE}"  # no line ends there
HASH = 8  # digits of DVC's md5 that are shown


def told(found: Lineage) -> list[str]:
    """A line each: the model, the stages with something in it, those beside them, code, and what is wrong."""
    return [*_head(found), *_line(found.steps), *_beside(found.steps), *_code(found.steps), *_end(found)]


def _head(found: Lineage) -> Iterator[str]:
    model = f"{found.model} {short(found.sha256)}" if found.sha256 else found.model
    yield f"{model}: {described(found.about)}" if found.about else model
    if (record := found.production) is not None:
        since = f"commit {short(record['git'])}" if record.get("git") else "no commit"
        when = f" of {record['date']}, {record['subject']!r}" if "date" in record else ""
        before = f"in place of {short(record['previous'])}" if record.get("previous") else "the first"
        yield from wrap(f"In production from {since}{when}, {before}.", WIDTH)
    for fact in found.steps[-1].facts if found.steps else ():
        yield from wrap(f"{fact[0].upper()}{fact[1:]}", WIDTH)
    yield f"Recorded in {found.lock}. Behind a path stands its md5, behind a model its sha256."


def _line(steps: Sequence[Step]) -> Iterator[str]:
    shown: dict[str, str] = {}  # params as an earlier stage had them
    for step in steps:
        if not step.beside:
            facts = step.facts if step != steps[-1] else ()  # the head has those
            yield ""
            yield from _part(step.name, step.command, mark="")
            yield from _part("reads", ", ".join(_entry(entry) for entry in step.reads if not entry.code))
            yield from _part("params", _params(step, shown))
            yield from _part("writes", _all_written(step, facts))


def _beside(steps: Iterable[Step]) -> Iterator[str]:
    beside = [step for step in steps if step.beside]
    if beside:
        yield ""
        yield "Nothing of these is in the model; it was compared with them, or measured by them:"
        for step in beside:
            yield from _part(step.name, _all_written(step, step.facts))


def _code(steps: Iterable[Step]) -> Iterator[str]:
    code = {entry.path: entry for step in steps for entry in step.reads if entry.code}
    if code:
        yield ""
        yield from _part("code", ", ".join(_entry(entry) for _, entry in sorted(code.items())), mark="")


def _end(found: Lineage) -> Iterator[str]:
    yield ""
    for note in found.notes:
        yield from _part("note", note, mark="")
    for wrong in found.broken:
        yield from _part("BROKEN", wrong, mark="")
    number = len(found.broken)
    yield f"Broken in {number} place{'s' * (number > 1)}." if number else "Whole: every record fits the next."


def _entry(entry: Entry) -> str:
    return f"{entry.path}{STAY}{entry.md5[:HASH]}"


def _written(entry: Entry, step: Step) -> str:
    """With the model in it, or how much it is."""
    models = [digest for path, digest in step.models.items() if f"{path}/".startswith(f"{entry.path}/")]
    if models:
        return f"{_entry(entry)} (model {', '.join(map(short, models))})"
    files = f"{entry.files:,} file{'s' * (entry.files > 1)}, " if entry.files else ""
    return f"{_entry(entry)} ({files}{_bytes(entry.size)})" if entry.size is not None else _entry(entry)


def _all_written(step: Step, facts: Iterable[str]) -> str:
    return "; ".join([", ".join(_written(entry, step) for entry in step.writes), *facts])


def _params(step: Step, shown: dict[str, str]) -> str:
    """What no stage above has read, in full; of the others the names."""
    written = {name: _value(value) for name, value in sorted(step.params.items())}
    new = [f"{name} {value}" for name, value in written.items() if shown.get(name) != value]
    old = [name for name, value in written.items() if shown.get(name) == value]
    shown |= written
    return "; ".join([", ".join(new), f"as above {', '.join(old)}" if old else ""]).strip("; ")


def _value(value: Any) -> str:
    return json.dumps(value).replace('"', "")


def _bytes(size: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.1f} GB"


def _part(name: str, text: str, *, mark: str = "  ") -> list[str]:
    begin = f"{mark}{name}".ljust(INDENT - 1) + " "
    lines = wrap(
        text, WIDTH, initial_indent=begin, subsequent_indent=" " * (INDENT + 2),
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
    return [line.replace(STAY, " ") for line in lines]
