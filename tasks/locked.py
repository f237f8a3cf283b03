"""What DVC has recorded, read without DVC, which takes seconds to load: dvc.lock, and the files it keeps by md5."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from configparser import ConfigParser
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from tasks.graph import Stage, overlap, stages_of
from tasks.io import bad_input, read_json
from tasks.promote import RUN, STORY, sha256_of
from tasks.revision import git
from tasks.written import read

CODE = ("src/", "tasks/")  # what a stage reads there is no data
COMMITS = 200  # with a new dvc.lock that are looked through at most


@dataclass(frozen=True)
class Entry:
    """A file or a folder that a stage has read or written."""

    path: str
    md5: str  # of a folder, of the listing of its files, with `.dir` behind it; "" where DVC has no md5 of it
    size: int | None  # bytes
    files: int | None  # how many; None of a file

    @property
    def code(self) -> bool:
        return self.path.startswith(CODE)


@dataclass(frozen=True)
class Ran:
    """A stage as it was when it ran."""

    name: str
    command: str
    params: Mapping[str, Any]  # dotted name of params.yaml -> value
    reads: tuple[Entry, ...]
    writes: tuple[Entry, ...]

    @property
    def verb(self) -> str:
        """What it runs of `python -m tasks`; "" of another command."""
        return [*self.command.partition("-m tasks ")[2].split(), ""][0]


@dataclass(frozen=True)
class Book:
    """dvc.lock, and the graph, of one moment."""

    ran: Mapping[str, Ran]
    stages: tuple[Stage, ...]
    where: str | None  # "of commit ..." or "in ..."; None: as they lie here
    _writers: dict[str, list[Ran]] = field(default_factory=dict)  # path -> what `writers` has found

    def writers(self, path: str) -> list[Ran]:
        """Those that have written `path`, something in it, or what it lies in."""
        if path not in self._writers:
            found = [ran for ran in self.ran.values() if any(overlap(path, entry.path) for entry in ran.writes)]
            self._writers[path] = found
        return self._writers[path]

    def unrun(self, path: str) -> list[str]:
        """Stages of dvc.yaml, but not of dvc.lock, that would."""
        would = [stage.name for stage in self.stages if any(overlap(path, each) for each in stage.writes)]
        return [name for name in would if name not in self.ran]

    def upstream(self, target: Ran) -> list[Ran]:
        """`target` behind all that it descends from, each behind what it reads from."""
        done: dict[str, Ran] = {}
        open_ = {target.name: (target, iter(self.sources(target)))}
        while open_:
            ran, sources = open_[[*open_][-1]]
            following = next((one for one in sources if one.name not in done.keys() | open_.keys()), None)
            if following is None:
                done[ran.name] = ran
                del open_[ran.name]
            else:
                open_[following.name] = (following, iter(self.sources(following)))
        return list(done.values())

    def sources(self, ran: Ran) -> list[Ran]:
        """The stages that it reads from."""
        found = {one.name: one for entry in ran.reads for one in self.writers(entry.path) if one != ran}
        return list(found.values())


def here() -> Book:
    """Of the files as they lie here. Raises BadInput where one of them is missing or no YAML."""
    for name in ("dvc.yaml", "params.yaml"):
        if not Path(name).exists():
            raise bad_input(f"{name} is not here: run this in the folder of the project")
    lock = Path("dvc.lock")
    texts = [Path(name).read_text() for name in ("dvc.yaml", "params.yaml")]
    return _book(lock.read_text() if lock.exists() else "", *texts, where=None)


def beside(folder: Path) -> Iterator[Book]:
    """Of the run that a model in production came from, where it was kept. Raises BadInput for what is none."""
    file = folder / RUN
    if file.exists():
        try:
            texts = [str(read_json(file)[name]) for name in STORY]
        except (ValueError, KeyError, TypeError):
            raise bad_input(f"{file} does not hold {', '.join(STORY)}. `git checkout {file}` restores it") from None
        yield _book(*texts, where=f"in {file}")


def of(commit: str) -> Book | None:
    """Of a commit; None where it has no dvc.lock. Raises BadInput where one of its files is no YAML."""
    lock, *texts = (git(Path(), "show", f"{commit}:./{name}") for name in STORY)
    return None if lock is None else _book(lock, *(text or "" for text in texts), where=f"of commit {commit[:12]}")


def later(commit: str | None) -> Iterator[Book]:
    """Of `commit` and of those after it with a new dvc.lock, first to last; where it is None, of all, newest first."""
    order = ["HEAD"] if commit is None else ["--reverse", "--ancestry-path", f"{commit}..HEAD"]
    found = (git(Path(), "rev-list", *order, "--", "dvc.lock") or "").split()
    for each in [*([commit] if commit else []), *found[:COMMITS]]:
        if (book := of(each)) is not None:
            yield book


def _book(lock: str, definitions: str, params: str, *, where: str | None) -> Book:
    told = f" {where}" if where else ""
    try:
        written = (read(lock) or {}).get("stages") or {}
        stages = stages_of(definitions, params) if definitions else []
    except (yaml.YAMLError, AttributeError) as error:
        raise bad_input(f"dvc.lock, dvc.yaml or params.yaml{told} cannot be read: {error}. Mend the file") from error
    except KeyError as error:
        raise bad_input(f"params.yaml{told} lacks {error}, which dvc.yaml names. Write it") from error
    left = {stage.name for stage in stages} or written.keys()  # DVC leaves what dvc.yaml has no longer in dvc.lock
    return Book({name: _ran(name, each) for name, each in written.items() if name in left}, tuple(stages), where)


def _ran(name: str, written: Mapping[str, Any]) -> Ran:
    params = {key: value for file in written.get("params", {}).values() for key, value in file.items()}
    reads, writes = (tuple(map(_entry, written.get(part, []))) for part in ("deps", "outs"))
    command = written["cmd"] if isinstance(written["cmd"], str) else " && ".join(written["cmd"])
    return Ran(name, command, params, reads, writes)


def _entry(written: Mapping[str, Any]) -> Entry:
    return Entry(written["path"], written.get("md5", ""), written.get("size"), written.get("nfiles"))


@dataclass(frozen=True)
class Kept:
    """Files by what was recorded of them: DVC's copies, and what lies on the disk."""

    cache: Path
    _digests: dict[str, str] = field(default_factory=dict)  # md5 -> sha256
    _listings: dict[str, dict[str, str]] = field(default_factory=dict)  # md5 -> name in the folder -> md5

    def listing(self, entry: Entry) -> dict[str, str] | None:
        """path -> md5 of each file of it; None where DVC's copy of a folder's listing is not here."""
        if not entry.md5.endswith(".dir"):
            return {entry.path: entry.md5} if entry.md5 else None
        if entry.md5 not in self._listings and (copy := self._copy(entry.md5)).exists():
            self._listings[entry.md5] = {one["relpath"]: one["md5"] for one in json.loads(copy.read_bytes())}
        files = self._listings.get(entry.md5)
        return None if files is None else {f"{entry.path}/{name}": md5 for name, md5 in files.items()}

    def find(self, path: str, md5: str) -> Path | None:
        """A file with the bytes that `path` had: DVC's copy, or the file itself. None where they are not here."""
        copy, file = self._copy(md5), Path(path)
        if copy.exists():
            return copy
        return file if file.is_file() and md5_of(file) == md5 else None

    def has(self, md5: str) -> bool:
        return self._copy(md5).exists()

    def sha256(self, path: str, md5: str) -> str | None:
        """Of the bytes that `path` had; None where they are not here."""
        if md5 not in self._digests and (file := self.find(path, md5)):
            self._digests[md5] = sha256_of(file)
        return self._digests.get(md5)

    def _copy(self, md5: str) -> Path:
        return self.cache / "files" / "md5" / md5[:2] / md5[2:]

    @cached_property
    def ignored(self) -> list[str]:
        """Names that DVC leaves out, as .dvcignore has them."""
        file = Path(".dvcignore")
        return [line.strip().strip("/") for line in file.read_text().splitlines()] if file.exists() else []


def kept() -> Kept:
    """Where DVC's settings of the repository say: `cache.dir`, else .dvc/cache."""
    cache = Path(".dvc/cache")
    for name in ("config", "config.local"):
        settings = ConfigParser(interpolation=None, strict=False)
        settings.read(Path(".dvc", name))
        if told := settings.get("cache", "dir", fallback=None):
            cache = Path(".dvc", os.path.expanduser(told))
    return Kept(cache)


def md5_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def md5_of_folder(folder: Path) -> str:
    """As dvc.lock has it: of the listing of its files."""
    files = sorted((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*") if path.is_file())
    listing = json.dumps([{"md5": md5_of(path), "relpath": name} for name, path in files])
    return f"{hashlib.md5(listing.encode()).hexdigest()}.dir"
