"""What lies in a source, whatever its form: class folders, a CSV, or WebDataset tar shards."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from tutelage.data.decoding import SUFFIXES
from tutelage.data.folders import inside, list_files, scan_folders
from tutelage.data.records import Found, Scan, SourceName
from tutelage.data.shards import scan_shards
from tutelage.data.tables import scan_table
from tutelage.types import BadInput

_PACKED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst", ".zip")
_LISTS = (".tar", ".csv", ".tsv", ".txt")  # files that hold images, or name them
_KNOWN = ", ".join(sorted(SUFFIXES))
_HOW = "Unpack it; of .tar.gz and .tgz `gunzip` makes the plain .tar that is read"


def scan(root: Path, name: str, source: SourceName) -> Scan:
    """List the images of the source `name` inside `root`; no image is opened. Raises BadInput.

    A file is a CSV or one shard; a folder with tar files in it is a set of shards; any other folder holds images.
    """
    path = root / name
    boundary = os.path.realpath(root)
    check(root, name, source)
    if path.is_file() and path.suffix.lower() not in _LISTS:
        raise BadInput(f"ingest.{source} is {name!r}: write a folder, a .csv or a .tar")
    found = Scan(source, (path if path.is_dir() else path.parent).as_posix())
    if path.suffix.lower() == ".tar":
        found.shard = path.as_posix()
        scan_shards(path.parent, [path.name], found)
    elif path.is_file():
        scan_table(path, boundary, found)
    else:
        _scan_folder(path, boundary, found)
    found.found.sort(key=lambda image: image.id)
    found.refused.sort(key=lambda refusal: refusal.id)
    return found


def scan_domains(root: Path, names: Mapping[str, str], source: SourceName) -> dict[str, Scan]:
    """List the images of a source that lies in several places inside `root`, one a domain. Raises BadInput."""
    return {domain: scan(root, name, source) for domain, name in names.items()}


def joined(parts: Mapping[str, Scan], root: Path) -> Scan:
    """The domains of one source as one source, whose paths are relative to `root` and whose images say their domain."""
    whole = Scan(next(iter(parts.values())).source, root.as_posix())
    for domain, part in parts.items():
        inner = os.path.relpath(part.root, root)
        below = "" if inner == os.curdir else f"{inner}/"
        for image in part.found:
            name = _below(image.id, part.source, below)
            whole.found.append(replace(image, id=name, path=below + image.path, domain=domain))
        whole.refused += [replace(each, id=_below(each.id, part.source, below)) for each in part.refused]
        whole.classes |= part.classes
        whole.table |= part.table
    whole.found.sort(key=lambda image: image.id)
    whole.refused.sort(key=lambda refusal: refusal.id)
    return whole


def scan_unasked(path: Path) -> Scan:
    """List what somebody names to be looked at, as `scan` does of a pool; one image by itself, too. Raises BadInput."""
    suffix = path.suffix.lower()
    if path.is_file() and suffix in SUFFIXES:
        found = Scan("pool", path.parent.as_posix())
        found.found.append(Found(f"pool/{path.name}", "pool", path.name, 0, path.stat().st_size))
        return found
    if path.is_file() and suffix not in _LISTS and not path.name.lower().endswith(_PACKED):
        raise BadInput(f"{path} is no image by its name. Name a folder, an image ({_KNOWN}), a .csv or a .tar")
    real = Path(os.path.realpath(path))  # a link to a folder is followed; one in it may not lead out of it
    return scan(real, ".", "pool") if real.is_dir() else scan(real.parent, real.name, "pool")


def check(root: Path, name: str, source: str) -> None:
    """Raises BadInput where `name` leads out of `root`, to nothing, or to what cannot be read at random."""
    path = root / name
    if not inside(os.path.realpath(path), os.path.realpath(root)):
        raise BadInput(
            f"ingest.{source} is {name!r}, which leads out of ingest.root ({root}). Move the images into it, or "
            "point ingest.root at a folder that holds all sources"
        )
    if not path.exists():
        there = ", ".join(sorted(entry.name for entry in os.scandir(root))[:10]) if root.is_dir() else ""
        raise BadInput(
            f"ingest.{source} is {name!r}, and {path} does not exist. In {root} there is: {there or 'nothing'}"
        )
    if path.name.lower().endswith(_PACKED):
        raise _packed(path)


def _packed(path: Path) -> BadInput:
    return BadInput(f"{path} is compressed, so images in it cannot be read at random. {_HOW}")


def check_apart(scans: list[Scan]) -> None:
    """Raises BadInput where one folder of images lies in another's, so that its images would come in twice."""
    folders = [(scan, os.path.realpath(scan.shard or scan.root)) for scan in scans if not scan.table]
    for inner, path in folders:
        for outer, above in folders:
            if inner is not outer and inside(path, above):
                raise BadInput(
                    f"ingest.{inner.source} ({inner.root}) lies inside ingest.{outer.source} ({outer.root}). "
                    "Put them side by side"
                )


def _below(name: str, source: str, folder: str) -> str:
    """The id of an image of which `folder` became a part of the path."""
    return f"{source}/{folder}{name.removeprefix(f'{source}/')}"


def _scan_folder(path: Path, boundary: str, found: Scan) -> None:
    files = list(list_files(path, boundary, found))
    packed = [name for name in files if name.lower().endswith(_PACKED)]
    if packed:
        raise _packed(path / packed[0])
    shards = [name for name in files if name.lower().endswith(".tar")]
    loose = [name for name in files if os.path.splitext(name)[1].lower() in SUFFIXES]
    if shards and loose:
        raise BadInput(f"{path} holds tar shards ({shards[0]}) and loose images ({loose[0]}). Give each its own folder")
    if shards:
        scan_shards(path, shards, found)
    else:
        scan_folders(path, files, found)
