"""Images with labels, added to class folders, a CSV or shards: each file appears whole, and none is written over."""

import csv
import hashlib
import io
import os
import posixpath
import shutil
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tasks.io import held, sync, write_whole
from tutelage.data.folders import class_name
from tutelage.data.tables import header_of, read_sheet
from tutelage.types import BadInput

SHOWN = 20  # problems that are told at once
BESIDE = "asked"  # the folder beside a CSV that copies go to
LONGEST = 255  # bytes of a file's name


@dataclass(frozen=True)
class Addition:
    """An image that becomes a labelled one."""

    image: Path  # the copy that people saw
    name: str  # relative path that no other image has
    label: str
    domain: str = ""


def own_name(name: str, digest: str, suffix: str) -> str:
    """A path for the image `name` of the pool among the labelled ones: its own, so that `split.groups` finds in it what
    it found before, with a part of its hash, so that it is nobody else's. No part is hidden, and a dot is the suffix's.
    The end of a name that would be too long is cut.
    """
    folder, _, file = name.partition("/")[2].rpartition("/")
    end = f"-{digest[:12]}{suffix}"
    stem = posixpath.splitext(file)[0].replace(".", "_").encode()[: LONGEST - len(end)].decode(errors="ignore")
    parts = [part.lstrip(".") or "_" for part in folder.split("/") if part]
    return "/".join([*parts, stem + end])


def refused(problems: Sequence[str]) -> BadInput:
    """All that is wrong with what people have written, or the first of it."""
    more = len(problems) - SHOWN
    shown = [*problems[:SHOWN], *([f"... and {more} more"] if more > 0 else [])]
    return BadInput("\n  ".join([f"{len(problems)} problem(s), so nothing was added:", *shown]))


@contextmanager
def alone(place: Path) -> Iterator[None]:
    """Of two who answer at once the second reads `place` when the first has written there: it would write over that."""
    there = place.resolve()
    with held(there if there.is_dir() else there.parent):
        yield


def add(place: Path, additions: Sequence[Addition]) -> None:
    """Add images to the source `place`. Raises BadInput, or OSError, where nothing was added."""
    if additions:
        _way(place)(place, additions)


def _way(place: Path) -> Callable[[Path, Sequence[Addition]], None]:
    if place.suffix.lower() == ".tar":
        raise BadInput(
            f"{place} is one shard, beside which no other is read. Move it into a folder of its own and name that "
            "folder as ingest.labelled; the answers then become one more shard in it"
        )
    if place.is_file():
        return _into_table
    return _into_shards if any(path.is_file() for path in place.rglob("*.tar")) else _into_folders


def _into_folders(place: Path, additions: Sequence[Addition]) -> None:
    folders = {class_name(entry.name): entry.name for entry in os.scandir(place) if entry.is_dir()}
    for label in {one.label for one in additions} - folders.keys():
        if label.startswith(".") or "/" in label or "\\" in label:
            raise BadInput(f"a class called {label!r} cannot be a folder in {place}. Give it another name")
    pairs = [(one.image, place / folders.get(one.label, one.label) / one.name) for one in additions]
    with copied(place, pairs):
        pass


def _into_table(path: Path, additions: Sequence[Addition]) -> None:
    """Killed between the copies and the rows, it leaves files that no row names; the next call takes them. Of a link,
    what it leads to gets the rows, and names stay relative to the link.
    """
    sheet, text = read_sheet(path), io.StringIO()
    columns = header_of(sheet)
    line_end = "\r\n" if "\r\n" in sheet.text else "\n"
    writer = csv.writer(text, delimiter=sheet.delimiter, lineterminator=line_end)
    for one in additions:
        cells = {"image": f"{BESIDE}/{one.name}", "label": one.label, "domain": one.domain}
        writer.writerow([cells.get(column, "") for column in columns])
    before = sheet.text if sheet.text.endswith("\n") else sheet.text + line_end
    with copied(path.parent, [(one.image, path.parent / BESIDE / one.name) for one in additions]):
        write_whole(path.resolve(), (before + text.getvalue()).encode(sheet.encoding))


def _into_shards(place: Path, additions: Sequence[Addition]) -> None:
    """One more shard, named by what is in it; just before it appears `classes.txt` gets what it lacks."""
    ordered, said = sorted(additions, key=lambda one: one.name), hashlib.sha256()
    for one in ordered:
        said.update(f"{one.name}\0{one.label}\0".encode())
    path = place / f"asked-{said.hexdigest()[:12]}.tar"
    part, classes = path.with_name(f".{path.name}.part"), _class_list(place / "classes.txt", ordered)
    try:
        with tarfile.open(part, "w") as tar:
            for one in ordered:
                _member(tar, one.name, one.image.read_bytes())
                _member(tar, os.path.splitext(one.name)[0] + ".cls", one.label.encode())
        sync(part)
        if classes is not None:
            write_whole(place / "classes.txt", classes)
        os.replace(part, path)
        sync(place)
    finally:
        part.unlink(missing_ok=True)


def _class_list(path: Path, additions: Sequence[Addition]) -> bytes | None:
    """A longer list of classes; None where it has all, or where shards name classes without one."""
    if not path.is_file():
        return None
    text = path.read_text("utf-8-sig")
    missing = {one.label for one in additions} - {class_name(line) for line in text.splitlines()}
    if numbers := sorted(label for label in missing if label.isdecimal()):
        raise BadInput(f"a class called {numbers[0]} would be read as a line of {path}. Give it a name")
    return ("\n".join([text.rstrip(), *sorted(missing)]) + "\n").encode() if missing else None


def _member(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


@contextmanager
def copied(place: Path, pairs: Sequence[tuple[Path, Path]]) -> Iterator[None]:
    """Copies of files under other names, on the disk before any has its name. An error, in the block too, takes back
    those that are new. Raises BadInput where another file is there.
    """
    taken = [there for image, there in pairs if there.exists() and there.read_bytes() != image.read_bytes()]
    if taken:
        raise BadInput(f"{taken[0]} is there with other bytes and is not written over. Move it away")
    pairs = [(image, there) for image, there in pairs if not there.exists()]
    part, made = place / ".tutelage.part", list[Path]()  # hidden, so that nobody reads it, and on the same disk
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir()
        for number, (image, _) in enumerate(pairs):
            shutil.copyfile(image, part / str(number))
            sync(part / str(number))
        for number, (_, there) in enumerate(pairs):
            for folder in [above for above in reversed(there.parents) if not above.exists()]:
                folder.mkdir()
                made.append(folder)
            os.replace(part / str(number), there)
            made.append(there)
        for folder in {there.parent for _, there in pairs}:
            sync(folder)
        yield
    except OSError:
        for path in reversed(made):  # an empty folder would be a class
            path.rmdir() if path.is_dir() else path.unlink()
        raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
