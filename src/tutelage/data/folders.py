"""Images in folders: one folder a class where labels are wanted, any folders in a pool."""

import os
import posixpath
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from tutelage.data.decoding import SUFFIXES, Reason
from tutelage.data.records import Found, Scan
from tutelage.types import BadInput

_JUNK = ("__MACOSX", "Thumbs.db", "desktop.ini")  # what systems leave in folders


def list_files(folder: Path, boundary: str, scan: Scan) -> Iterator[str]:
    """Regular files under `folder` by relative path, sorted. Hidden ones are left out; links may not leave `boundary`.

    What may not be read goes to `scan.refused`.
    """
    yield from _walk(folder, "", boundary, scan, (os.path.realpath(folder),), set())


def scan_folders(folder: Path, files: list[str], scan: Scan) -> None:
    """Each image of `files` (relative to `folder`) with the name of its uppermost folder as its class.

    Raises BadInput where `folder` has no class folder and is no pool.
    """
    scan.loose_labels = scan.source == "pool"
    if not scan.loose_labels:
        scan.classes |= {
            class_name(entry.name) for entry in os.scandir(folder) if entry.is_dir() and not _ignored(entry.name)
        } - {""}
        if not scan.classes:
            tables = sorted(name for name in files if name.lower().endswith((".csv", ".tsv")))
            hint = f"Did you mean ingest.{scan.source}: {folder.name}/{tables[0]}?" if tables else (
                "Make one folder a class, a CSV with the columns image and label, or WebDataset tar shards."
            )  # fmt: skip
            if scan.source == "test" and not tables:
                hint += " If nobody has labelled these images, call the folder pool, or write ingest.test: null."
            raise BadInput(f"{folder} has no class folder and no tar shard. {hint}")
    for name in files:
        head, _, rest = name.partition("/")
        label = class_name(head) if rest else ""
        if os.path.splitext(name)[1].lower() not in SUFFIXES:
            scan.refuse(name, "not_an_image", f"its name does not end in one of {', '.join(sorted(SUFFIXES))}")
        elif not label and not scan.loose_labels:
            scan.refuse(name, "unknown_label", "it lies in no class folder")
        else:
            length = os.stat(folder / name).st_size
            scan.found.append(Found(f"{scan.source}/{name}", scan.source, name, 0, length, label or None))


def inside(path: str, boundary: str) -> bool:
    """Whether the real path lies in the real folder `boundary`."""
    return path == boundary or path.startswith(boundary.rstrip(os.sep) + os.sep)


def locate(folder: Path, written: str, boundary: str, named: str) -> tuple[str, tuple[Reason, str] | None]:
    """The path of a file that a table or a JSON names, relative to `folder`; and why it may not be read, if so.

    `named` is what `folder` is called in the answer.
    """
    if not is_utf8(written):
        return written.encode("utf-8", "backslashreplace").decode(), ("unreadable", "its name is not UTF-8; rename it")
    name = _from(folder, posixpath.normpath(written.replace("\\", "/")))  # Windows writes its paths with backslashes
    away = name.startswith(("/", "../")) or name == ".." or name[1:3] == ":/"
    real = os.path.realpath(folder / name) if "\0" not in name else ""
    if away or (real and not inside(real, boundary)):
        return written, ("outside_root", f"the path leads out of {named}; write it relative to that folder")
    if not os.path.isfile(real):
        return name, ("unreadable", f"there is no such file in {named}")
    return name, None


def _from(folder: Path, name: str) -> str:
    """A whole path that lies in `folder`, by its name or that of what it links to, as one relative to it."""
    for base in (os.path.abspath(folder), os.path.realpath(folder)):
        if inside(name, base):
            return os.path.relpath(name, base)
    return name


def _walk(
    folder: Path, prefix: str, boundary: str, scan: Scan, above: tuple[str, ...], reached: set[str]
) -> Iterator[str]:
    """`above` are the folders that this one lies in, `reached` those that were walked below the same uppermost one:
    where links branch, the paths to a folder double with each."""
    for entry in sorted(os.scandir(folder), key=lambda entry: os.fsencode(entry.name)):
        name = prefix + entry.name
        if _ignored(entry.name) or not _admitted(entry, name, boundary, scan):
            continue
        if not entry.is_dir():
            yield name
            continue
        real = os.path.realpath(entry.path)
        if real in above:
            scan.refuse(name, "unreadable", "a link to a folder that it lies in")
        elif entry.is_symlink() and real in reached:
            scan.refuse(name, "unreadable", f"a link to a folder that {name.partition('/')[0]} has already")
        else:
            below = reached if prefix else set()  # a link of each class may lead to one folder
            below.add(real)
            yield from _walk(Path(entry.path), name + "/", boundary, scan, (*above, real), below)


def _admitted(entry: os.DirEntry[str], name: str, boundary: str, scan: Scan) -> bool:
    """Whether a file or folder may be read; the scan is told why not."""
    if not is_utf8(entry.name):
        shown = os.fsencode(name).decode("utf-8", "backslashreplace")
        scan.refuse(shown, "unreadable", "its name is not UTF-8; rename it")
    elif entry.is_symlink() and not inside(os.path.realpath(entry.path), boundary):
        scan.refuse(name, "outside_root", "a link that leads out of the root; copy the files into it")
    elif not (entry.is_file() or entry.is_dir()):
        scan.refuse(name, "unreadable", "a link to nothing" if entry.is_symlink() else "not a regular file")
    else:
        return True
    return False


def _ignored(name: str) -> bool:
    return name.startswith(".") or name in _JUNK


def class_name(written: str) -> str:
    """One name for a class however it is written: macOS makes an accented letter two characters (NFD), and nobody sees
    a space at an end."""
    return unicodedata.normalize("NFC", written).strip()


def is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # undecodable bytes of a name are surrogates in Python
        return False
    return True
