"""Whether the records of a model's descent agree with each other and with what lies here: a sentence where not."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from tasks.graph import overlap
from tasks.lineage_facts import FACTS, short
from tasks.locked import Book, Entry, Kept, Ran, md5_of
from tasks.promote import MODEL
from tasks.text import first_few

HASHED = 256 * 2**20  # bytes of an output; of larger ones the number and the bytes of the files are compared
SHOWN = 3  # files that a sentence names
LABELS = ("manifest.json", "calibration.json")  # records that name the teacher they are of
TAUGHT = ("student", "adapt_round", "box_student", "multi_student")  # verbs that take the labels of their own teacher


@dataclass(frozen=True)
class Records:
    """What dvc.lock says of the stages that a model descends from, and the files with it."""

    book: Book
    kept: Kept
    stages: Sequence[Ran]

    def read_by(self, ran: Ran) -> dict[str, str]:
        """path -> md5 of each file that other stages wrote and this one reads."""
        found: dict[str, str] = {}
        for entry in ran.reads:
            for writer in self.book.writers(entry.path):
                files = self.written_by(writer) if writer != ran else {}
                found |= {path: md5 for path, md5 in files.items() if overlap(path, entry.path)}
        return found

    def written_by(self, ran: Ran) -> dict[str, str]:
        """path -> md5 of its files. Where DVC's listing of a folder is not here, of the records that lie in it now."""
        found: dict[str, str] = {}
        for entry in ran.writes:
            listing = self.kept.listing(entry)
            found |= self._lying_in(entry) if listing is None else listing
        return found

    def _lying_in(self, entry: Entry) -> dict[str, str]:
        files = [Path(entry.path, name) for name in (MODEL, *FACTS)] if self.book.where is None else []
        return {path.as_posix(): md5_of(path) for path in files if path.is_file()}

    def model_of(self, ran: Ran) -> dict[str, str]:
        """path -> md5 of the models that it wrote."""
        return {path: md5 for path, md5 in self.written_by(ran).items() if Path(path).name == MODEL}

    def json(self, files: Mapping[str, str], name: str) -> Iterator[tuple[str, Any]]:
        """The folder and the content of each of `files` that has this name."""
        for path, md5 in files.items():
            if Path(path).name == name and (file := self.kept.find(path, md5)):
                yield str(Path(path).parent), json.loads(file.read_bytes())


def broken(records: Records) -> list[str]:
    """What contradicts what, with the way out."""
    found = [*_never_run(records), *_of_another_state(records), *_in_two_states(records), *_of_another_teacher(records)]
    found += [*_of_another_verdict(records)]
    return found if records.book.where else [*found, *_changed(records)]


def notes(records: Records) -> list[str]:
    """What does not break the descent, but should be known."""
    if records.book.where:
        return _not_kept(records)
    made = {entry.path for ran in records.stages for entry in ran.writes}
    sources = {entry.path: entry for ran in records.stages for entry in ran.reads if entry.path not in made}
    changed = [path for path, entry in sources.items() if not records.book.writers(path) and not _is(records, entry)]
    told = _unhashed(records)
    if changed:
        told.append(
            f"changed since these stages ran: {first_few(changed, SHOWN)}. This model is of what was there before; the "
            "next `dvc repro` takes the new in"
        )
    return told


def _never_run(records: Records) -> Iterator[str]:
    for ran in records.stages:
        for entry in ran.reads:
            if not entry.code and not records.book.writers(entry.path):
                for name in records.book.unrun(entry.path):
                    yield f"{ran.name} read {entry.path}, and {name}, which writes it, is not in dvc.lock: {_run(name)}"


def _of_another_state(records: Records) -> Iterator[str]:
    """A stage that has run again since another read what it wrote."""
    for ran in records.stages:
        for entry in ran.reads:
            for writer in records.book.writers(entry.path):
                if (path := _differs(records.kept, entry, writer)) and writer != ran:
                    told = f"{ran.name} read another {path} than {writer.name} has written"
                    yield f"{told}: {_run(ran.name)} (it read {short(entry.md5)})"


def _differs(kept: Kept, entry: Entry, writer: Ran) -> str | None:
    """The first path that was not read as it was written."""
    for made in writer.writes:
        if made.path == entry.path:
            return entry.path if made.md5 != entry.md5 else None
        read, written = kept.listing(entry), kept.listing(made)
        if read is None or written is None:
            continue
        for path, md5 in written.items():
            if overlap(path, entry.path) and read.get(path) != md5:
                return path
    return None


def _in_two_states(records: Records) -> Iterator[str]:
    """Code, data or params that one stage of the descent read as they were, another as they are."""
    first: dict[str, tuple[str, str]] = {}
    for ran in records.stages:
        sources = {entry.path: entry.md5 for entry in ran.reads if not records.book.writers(entry.path)}
        for name, content in (sources | {key: json.dumps(value) for key, value in ran.params.items()}).items():
            before, who = first.setdefault(name, (content, ran.name))
            if before != content:
                told = f"{who} and {ran.name} read {name} in two states"
                yield f"{told}: {_run(records.stages[-1].name)} makes both of the same"


def _of_another_teacher(records: Records) -> Iterator[str]:
    """Thresholds and labels are of a model by its sha256: what their stage read, and what their student learns from."""
    for ran in records.stages:
        before = records.read_by(ran)
        models = {path: records.kept.sha256(path, md5) for path, md5 in before.items() if Path(path).name == MODEL}
        stores = records.written_by(ran) | (before if ran.verb in TAUGHT else {})
        for name in LABELS:
            for folder, record in records.json(stores, name):
                teacher = record.get("teacher")
                if teacher and models and None not in models.values() and teacher not in models.values():
                    read = " and ".join(f"{path} ({short(digest)})" for path, digest in models.items())
                    told = f"{folder}/{name} is of the teacher {short(teacher)}"
                    yield f"{told}, and {ran.name} read {read}: {_again(ran)}"


def _of_another_verdict(records: Records) -> Iterator[str]:
    """A judge says by its sha256 which model has won."""
    for ran in records.stages:
        for folder, verdict in records.json(records.written_by(ran), "verdict.json"):
            won = verdict["digests"][verdict["winner"]]
            for path, md5 in records.model_of(ran).items():
                if (digest := records.kept.sha256(path, md5)) not in (won, None):
                    told = f"{path} ({short(digest)}) is not the model that {folder}/verdict.json lets win"
                    yield f"{told} ({short(won)}): {_again(ran)}"


def _changed(records: Records) -> Iterator[str]:
    """What lies here is not what its stage wrote."""
    for ran in records.stages:
        for entry in ran.writes:
            if not Path(entry.path).exists():
                if not _all_kept(records.kept, entry):
                    yield f"{entry.path} is neither here nor in DVC's cache: `dvc pull {ran.name}`"
            elif wrong := first_few(_wrong(records.kept, entry), SHOWN):
                yield f"{wrong}: not as {ran.name} wrote it. `dvc checkout --force {entry.path}` restores it"


def _wrong(kept: Kept, entry: Entry) -> list[str]:
    """Files that differ, are missing, or that no stage has written; of a large folder, itself."""
    found = _files(kept, entry.path)
    written = kept.listing(entry)
    if written is None or (entry.size or 0) > HASHED:
        same = (entry.size, entry.files or 1) == (sum(path.stat().st_size for path in found), len(found))
        return [] if same else [entry.path]
    here = {path.as_posix(): path for path in found}
    wrong = {name for name in written if name not in here or md5_of(here[name]) != written[name]}
    return sorted(wrong | (here.keys() - written.keys()))


def _is(records: Records, source: Entry) -> bool:
    """Whether what no stage has written is as it was read; of a folder by the number and the bytes of its files."""
    if not Path(source.path).exists():
        return False
    if source.md5.endswith(".dir"):
        found = _files(records.kept, source.path)
        return (source.size, source.files) == (sum(path.stat().st_size for path in found), len(found))
    return source.md5 in ("", md5_of(Path(source.path)))


def _files(kept: Kept, place: str) -> list[Path]:
    """Those that DVC sees there."""
    if Path(place).is_file():
        return [Path(place)]
    files = [path for path in Path(place).rglob("*") if path.is_file()]
    return [path for path in files if not any(fnmatch(part, name) for part in path.parts for name in kept.ignored)]


def _all_kept(kept: Kept, entry: Entry) -> bool:
    files = kept.listing(entry)
    return files is not None and all(map(kept.has, files.values()))


def _unhashed(records: Records) -> list[str]:
    """Outputs of which only number and bytes of their files were compared."""
    written = [entry for ran in records.stages for entry in ran.writes if Path(entry.path).exists()]
    found = [entry.path for entry in written if (entry.size or 0) > HASHED or records.kept.listing(entry) is None]
    told = f"{first_few(found, SHOWN)}: compared by number and bytes of the files; `dvc status` hashes them"
    return [told] if found else []


def _not_kept(records: Records) -> list[str]:
    lacking = [entry.path for ran in records.stages for entry in ran.writes if not _all_kept(records.kept, entry)]
    told = f"DVC's cache here lacks what {first_few(lacking, SHOWN)} held then"
    return [f"{told}: `dvc fetch --all-commits` brings what the remote has"] if lacking else []


def _run(stage: str) -> str:
    return f"`dvc repro {stage}`"


def _again(ran: Ran) -> str:
    return f"`dvc repro --force {ran.name}` makes it again"
