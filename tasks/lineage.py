"""Where a model comes from: each stage between the data and the model, what it read and wrote, and whether it fits."""

import argparse
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import yaml

from tasks.graph import overlap
from tasks.io import as_json, bad_input, write_whole
from tasks.lineage_checks import Records, broken, notes
from tasks.lineage_facts import FACTS, about, facts, short
from tasks.locked import Book, Entry, Kept, Ran, beside, here, kept, later, md5_of
from tasks.promote import FILES, MODEL, RECORD, RUN, SEEN, read_record, sha256_of
from tasks.revision import git

DEFAULTS = ("registry/production", "work/judge")


@dataclass(frozen=True)
class Step:
    """A stage on the way to the model."""

    name: str
    command: str
    params: Mapping[str, Any]  # what it read of params.yaml
    reads: tuple[Entry, ...]
    writes: tuple[Entry, ...]
    models: Mapping[str, str | None]  # path -> sha256, None where the bytes are not here
    facts: tuple[str, ...]  # what its records say
    beside: bool  # its model was compared with this one, or measured it: nothing of it is in this one


@dataclass(frozen=True)
class Lineage:
    """All that is known of where a model comes from."""

    model: str  # path
    sha256: str | None
    about: Mapping[str, Any]  # what its file says of itself
    production: Mapping[str, Any] | None  # production.json, with the commit's date and subject
    lock: str  # which dvc.lock this is from
    steps: tuple[Step, ...]  # data first
    broken: tuple[str, ...]
    notes: tuple[str, ...]


def main(arguments: list[str]) -> int:
    """`python -m tasks lineage ARGUMENTS`. 0: all fits, 1: something is broken, 2: bad input."""
    from tasks.lineage_text import told

    parser = argparse.ArgumentParser(prog="python -m tasks lineage", description=__doc__)
    default = f"{DEFAULTS[0]} where a model is in production, else {DEFAULTS[1]}"
    parser.add_argument("model", nargs="?", metavar="MODEL", help=f"a folder or a file of a stage, or {default}")
    parser.add_argument("out", nargs="?", type=Path, metavar="OUT", help="a file.json to write all of it into")
    asked = parser.parse_args(arguments)
    try:
        if asked.out is not None and asked.out.suffix != ".json":
            raise bad_input(f"OUT is {asked.out}: name a file that ends in .json")
        found = lineage(asked.model or next((each for each in DEFAULTS if Path(each, RECORD).exists()), DEFAULTS[1]))
    except ValueError as error:
        print(f"lineage: {error}", file=sys.stderr)
        return 2
    print("\n".join(told(found)))
    if asked.out is not None:
        write_whole(asked.out, as_json(asdict(found) | {"whole": not found.broken}).encode())
    return 1 if found.broken else 0


def lineage(model: str) -> Lineage:
    """Of a model in a registry by the dvc.lock that records it, here or in Git; of another by dvc.lock.

    Only records are read, and nothing is written. Raises BadInput for a path that no stage writes, and for files that
    cannot be read.
    """
    place = Path(os.path.relpath(model))
    folder = place.parent if place.name in FILES else place
    book, files = here(), kept()
    if (folder / RECORD).exists():
        return _of_production(folder, book, files)
    stage = _writer(book, place.as_posix())
    if stage not in book.ran:
        raise bad_input(f"{stage}, which writes {place}, has not run: `dvc repro {stage}`")
    return _of_stage(place.as_posix(), Records(book, files, book.upstream(book.ran[stage])))


def _writer(book: Book, path: str) -> str:
    """The stage that writes `path` or what it lies in; or the only one that writes something in it."""
    writes = {stage.name: stage.writes for stage in book.stages}
    inside = [name for name, outs in writes.items() if any(f"{path}/".startswith(f"{out}/") for out in outs)]
    around = [name for name, outs in writes.items() if any(overlap(path, out) for out in outs)]
    found = inside or around
    if not found:
        told = f"{path} is written by no stage of dvc.yaml, and has no {RECORD}, so nothing records where it comes from"
        raise bad_input(f"{told}. Name a stage's folder, as {DEFAULTS[1]}, or one of a registry with a model in it")
    if len(found) > 1:
        raise bad_input(f"{path} holds what several stages write ({', '.join(found)}): name the folder of one")
    return found[0]


def _of_stage(path: str, records: Records) -> Lineage:
    written = records.written_by(records.stages[-1])
    file = next((each for each in (path, f"{path}/{MODEL}") if each in written), None)
    return Lineage(
        model=file or path,
        sha256=records.kept.sha256(file, written[file]) if file else None,
        about=_about(records, written, file),
        production=None,
        lock=_lock(records.book),
        steps=tuple(_steps(records)),
        broken=tuple(broken(records)),
        notes=(*notes(records), *_other_models(records)),
    )


def _of_production(folder: Path, book: Book, files: Kept) -> Lineage:
    record, model = read_record(folder / RECORD), folder / MODEL
    commit, missing = _commit(record, folder)
    wrong = [*_other_files(record, folder), *missing]
    found = _origin(chain([book], beside(folder), later(commit)), files, record, _md5(model, record))
    if found is None:
        told = "no dvc.lock, here or in Git, has a stage that wrote this model, as far as DVC's cache here shows"
        wrong.append(f"{told}: `git pull`, and `dvc fetch --all-commits`, bring what others have{_uncommitted(folder)}")
        at = Lineage(folder.as_posix(), None, {}, None, "no dvc.lock", (), (), ())
    else:
        at = _of_stage(folder.as_posix(), found)
        wrong += _unjudged(found, record)
    return replace(
        at,
        model=model.as_posix(),
        sha256=record["model"],
        about=about(model) if model.exists() else {},
        production=record | _when(commit),
        broken=(*wrong, *at.broken),
        notes=(*at.notes, *_told_of(found, record, folder)),
    )


def _uncommitted(folder: Path) -> str:
    """The way to what a run has written whose dvc.lock may be in no commit."""
    file = folder / RUN
    return f"; docs/orchestration.md, Free the disk, fetches what {file} names" if file.exists() else ""


def _commit(record: Mapping[str, Any], folder: Path) -> tuple[str | None, list[str]]:
    """The commit that production.json names, where Git has it, and what is wrong with it."""
    named, file = record.get("git"), folder / RECORD
    if named is None:
        told = "names no commit, for it was written outside Git: nothing says which code made the model"
        return None, [f"{file} {told}. Commit the project before you promote"]
    commit, _, dirty = named.partition("-")
    if git(Path(), "cat-file", "-e", f"{commit}^{{commit}}") is None:
        told = "which is not in this repository"
        return None, [f"{file} names the commit {short(commit)}, {told}: `git fetch --unshallow`, or fetch its branch"]
    told = f"{file} names {short(commit)}-dirty: files had changed since that commit, so none has what made the model"
    return commit, [f"{told}. Commit before you retrain"] if dirty else []


def _other_files(record: Mapping[str, Any], folder: Path) -> Iterator[str]:
    for name, key in ((MODEL, "model"), (SEEN, "seen")):
        file, digest = folder / name, record.get(key)
        if digest and not file.exists():
            yield f"{file} is not here: `dvc pull {file}`"
        elif digest and (said := sha256_of(file)) != digest:
            told = f"{file} is {short(said)}, and {RECORD} says {short(digest)}"
            yield f"{told}: `dvc checkout --force {file}` restores it"


def _md5(model: Path, record: Mapping[str, Any]) -> str:
    """What DVC calls the model by. That of its .dvc file where the file itself has been changed; a model that a person
    promoted may not be in a .dvc file yet."""
    if model.exists() and sha256_of(model) == record.get("model"):
        return md5_of(model)
    pointer = model.with_name(f"{model.name}.dvc")
    if pointer.exists():
        return str(yaml.safe_load(pointer.read_text())["outs"][0]["md5"])
    return md5_of(model) if model.exists() else ""


def _origin(books: Iterable[Book], files: Kept, record: Mapping[str, Any], md5: str) -> Records | None:
    """The first dvc.lock with a stage that wrote the model, and the verdict; else the first that wrote the model."""
    by_model = None
    for book in books:
        every = Records(book, files, list(book.ran.values()))
        made = [ran for ran in every.stages if md5 in every.model_of(ran).values()]
        first = [Records(book, files, book.upstream(ran)) for ran in made]
        first.sort(key=lambda records: len(records.stages))
        for records in first:
            if record.get("verdict") is None or not [*_unjudged(records, record)]:
                return records
        by_model = by_model or next(iter(first), None)
    return by_model


def _unjudged(records: Records, record: Mapping[str, Any]) -> Iterator[str]:
    """A sentence where the last stage has not written the verdict that production.json names."""
    if record.get("verdict") is not None:
        written = records.written_by(records.stages[-1]).items()
        said = [records.kept.sha256(path, md5) for path, md5 in written if Path(path).name == "verdict.json"]
        if record.get("verdict") not in said:
            told = f"the verdict that promoted it ({short(record['verdict'])}) is in no dvc.lock, here or in Git"
            yield f"{told}: promote what was judged last, or look for the commit on other branches"


def _told_of(found: Records | None, record: Mapping[str, Any], folder: Path) -> Iterator[str]:
    if record.get("verdict") is None:
        yield "it was put into production by hand: no verdict was asked"
    if found and found.book.where:
        yield f"another run has been here since: this is what dvc.lock {found.book.where} records"
    elif found and not (folder / RUN).exists() and git(Path(), "status", "--porcelain", "--", "dvc.lock"):
        yield "dvc.lock is not committed: commit it with the registry before the next run writes over it"


def _when(commit: str | None) -> dict[str, str]:
    said = git(Path(), "log", "-1", "--format=%as%n%s", commit) if commit else None
    return dict(zip(("date", "subject"), said.split("\n"), strict=False)) if said else {}


def _lock(book: Book) -> str:
    return f"dvc.lock {book.where}" if book.where else "dvc.lock"


def _about(records: Records, written: Mapping[str, str], file: str | None) -> dict[str, Any]:
    found = records.kept.find(file, written[file]) if file and file.endswith(MODEL) else None
    return about(found) if found else {}


def _steps(records: Records) -> Iterator[Step]:
    line = _line(records)
    for ran in records.stages:
        written = records.written_by(ran)
        at = {Path(path).name: (path, md5) for path, md5 in written.items() if Path(path).name in FACTS}
        found = {name: file for name, (path, md5) in at.items() if (file := records.kept.find(path, md5))}
        models = {path: records.kept.sha256(path, md5) for path, md5 in records.model_of(ran).items()}
        yield Step(
            name=ran.name, command=ran.command, params=ran.params, reads=ran.reads, writes=ran.writes, models=models,
            facts=tuple(facts(found)), beside=ran.name not in line,
        )  # fmt: skip


def _line(records: Records) -> set[str]:
    """Stages of which something is in the model. One that passes a model on has it from those that hold the same."""
    open_, line = [records.stages[-1]], set[str]()
    while open_:
        ran = open_.pop()
        line.add(ran.name)
        models, sources = set(records.model_of(ran).values()), records.book.sources(ran)
        same = [source for source in sources if models & set(records.model_of(source).values())]
        if not same and models & {md5_of(path) for path in _registered(records, ran)}:
            continue  # a judge that keeps what is in production
        open_ += [source for source in same or sources if source.name not in line]
    return line


def _registered(records: Records, ran: Ran) -> list[Path]:
    """Models of a registry that the stage reads."""
    places = [Path(entry.path) for entry in ran.reads if not entry.code and not records.book.writers(entry.path)]
    return [place / MODEL for place in places if (place / RECORD).exists() and (place / MODEL).exists()]


def _other_models(records: Records) -> list[str]:
    found = {path.parent for ran in records.stages for path in _registered(records, ran)}
    return [
        f"{each} was read, too: `python -m tasks lineage {each}` says where that comes from" for each in sorted(found)
    ]
