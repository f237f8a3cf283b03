"""What a finished run leaves until DVC has recorded its result."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tasks.io import as_json, read_json, write_whole
from tasks.locked import md5_of_folder

ROOT = Path(__file__).parents[1]
UNFINISHED = Path(".tutelage")  # where runs keep what they need to go on, a folder a run in one a kind
FINISHED = "finished.json"
BEGUN = "begun"  # whose run it is
STAGE = "DVC_STAGE"  # DVC sets it for the command of a stage


class Finished(NamedTuple):
    """A run whose folder is still there, and what it made."""

    folder: Path
    out: str
    md5: str
    code: str  # what it was made by
    at: int  # nanoseconds


def by_dvc() -> bool:
    """Whether DVC runs this, and has yet to record what comes of it."""
    return STAGE in os.environ


def begin(name: str, scratch: Path) -> None:
    """`scratch` is for the run `name` of a stage. Where it is cut off and what it reads then changes, none goes on."""
    scratch.mkdir(parents=True, exist_ok=True)
    if by_dvc():
        (scratch / BEGUN).write_text(f"{os.environ[STAGE]}: {name}")


def _forget_cut_off(scratch: Path) -> None:
    """Removes what is left of runs of the same name that another one has ended instead of."""
    begun = scratch / BEGUN
    for other in UNFINISHED.glob(f"*/*/{BEGUN}"):
        ended = other == begun or other.with_name(FINISHED).exists()
        if begun.exists() and not ended and other.read_text() == begun.read_text():
            shutil.rmtree(other.parent)


def finish(out: Path, scratch: Path) -> None:
    """`out` is whole, so what its run kept in `scratch` to go on may go; where DVC runs it, when dvc.lock has `out`.

    DVC that is killed, or finds another at work, before it has written dvc.lock, removes `out` and runs the stage once
    more, which then takes seconds. Of an output the last such run is kept.
    """
    if not by_dvc():
        shutil.rmtree(scratch)
        return
    _forget_cut_off(scratch)
    made = {"out": str(out), "md5": md5_of_folder(out), "code": _code()}
    for other in _finished():
        if other.out == made["out"] and other.md5 != made["md5"]:
            shutil.rmtree(other.folder, ignore_errors=True)
    write_whole(scratch / FINISHED, as_json(made).encode())


def forget_recorded() -> None:
    """Removes what `finish` has left of results that dvc.lock has: who runs such a stage again wants it made anew. And
    what other code has made.

    dvc.lock must be younger: code that has changed without changing the result had the same in it before.
    """
    lock, code = Path("dvc.lock"), _code()
    for one in _finished():
        recorded = lock.exists() and lock.stat().st_mtime_ns > one.at and one.md5 in lock.read_text()
        if recorded or one.code != code:
            shutil.rmtree(one.folder, ignore_errors=True)  # another stage may do the same


@cache
def _code() -> str:
    """Changes with any of our files: what names a run's folder does not know them.

    As they are before a task begins, which asks for it first: who edits one later has not made what is finished then.
    """
    digest = hashlib.md5()
    for path in sorted(path for part in ("src", "tasks") for path in (ROOT / part).rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _finished() -> Iterator[Finished]:
    for path in UNFINISHED.glob(f"*/*/{FINISHED}"):
        with suppress(FileNotFoundError):  # another stage was quicker
            made = read_json(path)
            yield Finished(path.parent, **made, at=path.stat().st_mtime_ns)
