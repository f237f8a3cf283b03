"""Images in WebDataset tar shards: `key.png` with `key.cls` or `key.json`. Nothing is unpacked; reads go by offset."""

import json
import os
import posixpath
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

from torch.utils.data import Dataset

from tutelage.data.batches import shared_out
from tutelage.data.decoding import SUFFIXES, Reason
from tutelage.data.folders import class_name, is_utf8
from tutelage.data.reading import Reader
from tutelage.data.records import Found, Scan
from tutelage.types import BadInput

_LABEL_BYTES = 1 << 20  # a larger label file is none
_UNPACK = {b"\x1f\x8b": "gunzip", b"BZh": "bunzip2", b"\xfd7zXZ\0": "unxz", b"\x28\xb5\x2f\xfd": "unzstd"}
_BLOCK = 512  # of a tar
_MANY = 8  # shards from which on a process a core is worth its start


@dataclass(slots=True)
class _Shard:
    path: Path
    name: str  # relative to the root
    classes: list[str]
    images: dict[str, tuple[str, int, int]] = field(default_factory=dict)  # member -> key, offset, length
    labels: dict[str, tuple[int, int]] = field(default_factory=dict)  # key.cls or key.json -> offset, length
    extras: list[tuple[str, str]] = field(default_factory=list)  # member, key: key.seg.png, key.txt and the like


def scan_shards(folder: Path, shards: list[str], scan: Scan) -> None:
    """Images of `shards` (relative to `folder`). A number in .cls counts the lines, from 0, of `classes.txt` beside it.

    Many are shared out between processes, one a core. Raises BadInput for a classes.txt that is no list of names.
    """
    lists = {name: _class_list((folder / name).parent / "classes.txt") for name in shards}
    scan.classes.update(*lists.values())
    for part in shared_out(_Parts(folder, list(lists.items()), scan), len(shards), many=_MANY):
        scan.found += part.found
        scan.refused += part.refused


@dataclass(frozen=True)
class _Parts(Dataset[Scan]):
    """What each shard adds to a scan."""

    folder: Path
    shards: list[tuple[str, list[str]]]  # name, classes
    scan: Scan

    def __getitem__(self, number: int) -> Scan:
        name, classes = self.shards[number]
        shard, part = _Shard(self.folder / name, name, classes), Scan(self.scan.source, self.scan.root)
        _index(shard, part)
        _add(shard, part)
        return part


def _index(shard: _Shard, scan: Scan) -> None:
    """Note where the images and label files of a shard lie."""
    try:
        with tarfile.open(shard.path, "r:") as tar:
            before = 0
            for member in tar:
                if member.size < 0 or tar.offset <= before:  # else the same members would come again, for ever
                    raise tarfile.ReadError(f"the size of {_printable(member.name)} is negative")
                _note(shard, member, scan)
                before = tar.offset
        if _goes_on(shard.path, before):
            detail = (
                "it goes on behind the end of its members, as tars do that were joined by `cat` or are damaged; what "
                "lies there is not used. Keep them as files of their own, or join them with `tar --concatenate`"
            )
            scan.refuse(shard.name, "unreadable", detail)
    except tarfile.TarError as error:
        if (tool := _packed_by(shard.path)) is not None:
            scan.refuse(shard.name, "unreadable", f"it is compressed, whatever its name. Unpack it with `{tool}`")
            return
        cut = shard.path.stat().st_size % _BLOCK != 0 or any(word in str(error) for word in ("empty", "end of data"))
        scan.refuse(shard.name, "truncated" if cut else "unreadable", f"{error}; what lies before is used")
    except OSError as error:
        scan.refuse(shard.name, "unreadable", error.strerror or str(error))


def _goes_on(path: Path, end: int) -> bool:
    """Whether a file holds anything but zeros from `end` on."""
    with path.open("rb") as file:
        file.seek(end)
        return any(part.strip(b"\0") for part in iter(lambda: file.read(1 << 20), b""))


def _packed_by(path: Path) -> str | None:
    """The tool that unpacks a file, where it is no plain tar."""
    with path.open("rb") as file:
        start = file.read(6)
    return next((tool for magic, tool in _UNPACK.items() if start.startswith(magic)), None)


def _note(shard: _Shard, member: tarfile.TarInfo, scan: Scan) -> None:
    name = posixpath.normpath(member.name)
    folder, _, file = name.rpartition("/")
    stem, _, kind = file.partition(".")  # WebDataset: the first dot of the file's name ends the key
    key, kind = posixpath.join(folder, stem), kind.lower()
    image = os.path.splitext(file)[1].lower() in SUFFIXES
    if member.isdir() or not stem:
        return
    problem = _problem(member, name)
    if not problem and f".{kind}" not in SUFFIXES and kind not in ("cls", "json"):
        shard.extras.append((name, key))
    elif problem and image:
        scan.refuse(f"{shard.name}/{_printable(name)}", *problem)
    elif image:
        shard.images[name] = (key, member.offset_data, member.size)  # of one name the last, as `tar -x` leaves it
    elif not problem:
        shard.labels[f"{key}.{kind}"] = (member.offset_data, member.size)


def _problem(member: tarfile.TarInfo, name: str) -> tuple[Reason, str] | None:
    if name.startswith(("/", "../")):
        return "outside_root", "the member's path leads out of the shard"
    if member.issym() or member.islnk():
        return "outside_root", f"a link to {_printable(member.linkname)}; a shard holds the files themselves"
    if not member.isreg() or member.issparse():
        return "unreadable", "not a plain file"
    if name != _printable(name):
        return "unreadable", "its name is not UTF-8; rename it"
    return None


def _add(shard: _Shard, scan: Scan) -> None:
    keys = {key for key, _, _ in shard.images.values()}
    for name, key in shard.extras:
        if key not in keys:  # beside key.png it is a mask or another view; alone it may be a photo that would be lost
            scan.refuse(f"{shard.name}/{name}", "not_an_image", _stray(name))
    reader = Reader()
    for name in shard.labels:
        key, kind = os.path.splitext(name)
        if key not in keys and (kind == ".cls" or _label(shard, key, reader)[0] is not None):
            detail = f"a label without its image: no {key}.png or other image lies beside it"
            scan.refuse(f"{shard.name}/{name}", "unreadable", detail)
    for name, (key, offset, length) in shard.images.items():
        place = f"{shard.name}/{name}"
        label, problem = _label(shard, key, reader)
        if label is None and scan.source != "pool":
            scan.refuse(place, "unknown_label", problem)
        else:
            scan.found.append(Found(f"{scan.source}/{place}", scan.source, shard.name, offset, length, label))


def _stray(name: str) -> str:
    if os.path.splitext(name)[1].lower() in SUFFIXES:
        return "a WebDataset image is key.png, with no dot in the key"
    return f"its name does not end in one of {', '.join(sorted(SUFFIXES))}, and no image has its key"


def _label(shard: _Shard, key: str, reader: Reader) -> tuple[str | None, str]:
    """The class's name, or why there is none."""
    kind = next((kind for kind in ("cls", "json") if f"{key}.{kind}" in shard.labels), "")
    if not kind:
        return None, "neither .cls nor .json lies beside it"
    offset, length = shard.labels[f"{key}.{kind}"]
    data = reader.read(str(shard.path), offset, min(length, _LABEL_BYTES))
    try:
        text = data.decode("utf-8-sig")
        written = json.loads(text).get("label") if kind == "json" else text
    except (ValueError, AttributeError, RecursionError):  # not UTF-8, no JSON, a number of thousands of digits
        return None, f"its .{kind} cannot be read"
    if not isinstance(written, str | int) or isinstance(written, bool) or not str(written).strip():
        return None, f"its .{kind} holds no label"
    if not is_utf8(str(written)):
        return None, f"its .{kind} holds a label that is not Unicode text: {written!r}"
    return _class_name(class_name(str(written)), shard.classes)


def _class_name(written: str, classes: list[str]) -> tuple[str | None, str]:
    if not classes:
        return written, ""
    if (number := _line(written, classes)) is not None:
        return classes[number], ""
    if written in classes:
        return written, ""
    return None, f"{written!r} is neither a name nor a number of the {len(classes)} classes in classes.txt"


def _line(written: str, classes: list[str]) -> int | None:
    """The line of classes.txt that a number means."""
    short = written.isdecimal() and len(written) < 20  # Python reads no number of thousands of digits
    return int(written) if short and int(written) < len(classes) else None


def _class_list(path: Path) -> list[str]:
    if not path.is_file():
        return []
    try:
        names = [class_name(line) for line in path.read_text("utf-8-sig").rstrip().splitlines()]
    except UnicodeDecodeError as error:
        raise BadInput(f"{path} is not UTF-8 text. Save it as UTF-8, one class name a line") from error
    if "" in names or len(set(names)) < len(names):
        raise BadInput(f"{path} has a blank line or names a class twice. Write each class once, one a line")
    for number, name in enumerate(names):
        if _line(name, names) not in (None, number):
            raise BadInput(
                f"{path}, line {number + 1}: the class is called {name}, which as a label means the class of line "
                f"{int(name) + 1}: {names[int(name)]}. Give classes names that are no numbers, or number them from 0"
            )
    return names


def _printable(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()
