"""What people have answered, back into the labelled images."""

import hashlib
import posixpath
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks.answer_places import Addition, add, alone, own_name, refused
from tasks.asked import BOXES, read_asked
from tasks.box_answer import box_answer
from tasks.mistakes import nearest
from tasks.params import Ingest, Params
from tutelage.data.folders import class_name
from tutelage.data.records import Scan
from tutelage.data.sources import check, scan
from tutelage.data.tables import read_sheet, rows_of
from tutelage.types import BadInput

SKIP = "skip"


@dataclass
class Read:
    """What the lines of a sheet come to."""

    labels: dict[str, tuple[int, str]] = field(default_factory=dict)  # image -> line, class
    skipped: set[str] = field(default_factory=set)
    empty: int = 0  # images that nobody has given a label, those without a line too
    problems: list[str] = field(default_factory=list)


def answer(folder: Path, *, params: Params, domain: str | None = None, new: Sequence[str] = ()) -> list[str]:
    """Add the images that people have labelled in ask.csv of `folder` to the labelled ones, `ingest.labelled`.

    Into class folders they are copied, of a CSV they become rows and files in asked/ beside it, among tar shards one
    more shard. No file is written over. A label that is no class is refused with its line; `new` names classes that are
    to be one from now on. `skip`, or no label, leaves an image out. All lines are checked before anything is written,
    and the same answers again add nothing. `domain`: which of several places, where ingest.labelled names them, or of
    a CSV what its column `domain` says of images whose own domain the split does not know. Of a folder that `box_ask`
    wrote, the corrected ask.json goes into the COCO JSON of `detection.ingest`.
    """
    asked = read_asked(folder)
    _see_that_nobody_knew(asked)
    if asked["sheet"] == BOXES:
        if domain is not None:
            raise BadInput(f"boxes are of one place, {params.detection.ingest.labelled}. Leave {domain!r} out")
        return box_answer(folder, asked, params=params, new=new)
    place = place_of(params.ingest, domain)
    root = Path(params.ingest.root)
    labelled = params.ingest.labelled
    names = [labelled] if isinstance(labelled, str) else labelled.values()
    check(root, place, "labelled")
    with alone(root / place):
        parts = {name: scan(root, name, "labelled") for name in names}
        there, known = parts[place], {label for part in parts.values() for label in part.labels}
        named = {class_name(name) for name in new} - {""}
        read = _read(folder / asked["sheet"], asked["images"], known | named)
        domains = _domains(read.labels, asked["images"], there, params.ingest, domain)
        additions = list(_additions(folder, asked["images"], read, domains))
        fresh = list(_fresh(additions, there, read, folder / asked["sheet"]))
        if read.problems:
            raise refused(read.problems)
        add(root / place, fresh)
    return list(_told(additions, fresh, read, root / place, params, named & {one.label for one in fresh}))


def _see_that_nobody_knew(asked: Mapping[str, Any]) -> None:
    """A second label of a labelled image would contradict the first, and ingest refuse both."""
    if given := [about["id"] for about in asked["images"].values() if not about["id"].startswith("pool/")]:
        which = "detection.split.images" if asked["sheet"] == BOXES else "split.labels_per_class"
        pool = "detection.ingest.pool" if asked["sheet"] == BOXES else "ingest.pool"
        raise BadInput(
            f"{given[0]} is labelled already, and its label hidden by {which}. Raise that number; only images of "
            f"{pool} can be answered"
        )


def place_of(ingest: Ingest, domain: str | None) -> str:
    """The name inside `ingest.root` that answers belong to. Raises BadInput."""
    if isinstance(ingest.labelled, str):
        return ingest.labelled
    return ingest.labelled[_one_of(ingest.labelled, domain)]


def _one_of(domains: Collection[str], domain: str | None) -> str:
    if domain is None or domain not in domains:
        said = "which the answers belong to is not said" if domain is None else f"{domain!r} is none of them"
        raise BadInput(f"ingest.labelled has the domains {', '.join(domains)}, and {said}. Write one behind the folder")
    return domain


def _domains(
    answered: Iterable[str], images: Mapping[str, Any], there: Scan, ingest: Ingest, domain: str | None
) -> dict[str, str]:  # fmt: skip
    """The domain of each answered image: that of the place; of a CSV its own, and `domain` where that is not known.

    Raises BadInput where the CSV has domains, and one is neither known nor said.
    """
    if not isinstance(ingest.labelled, str):
        return dict.fromkeys(answered, domain or "")
    own = {image: images[image].get("domain", "") for image in answered}
    names = sorted({image.domain for image in there.found} - {""})
    if domain is not None and not names:
        raise BadInput(f"ingest.labelled is one place, {ingest.labelled}, without domains. Leave {domain!r} out")
    if domain is not None or (names and not all(own.values())):
        domain = _one_of(names, domain)
    return {image: known or domain or "" for image, known in own.items()}


def _read(sheet: Path, images: Mapping[str, Any], classes: Collection[str]) -> Read:
    if not sheet.exists():
        raise BadInput(f"{sheet} does not exist. Put the filled-in file there")
    read = Read()
    for line, row in rows_of(sheet, read_sheet(sheet), ("image", "label"), ("id",)):
        image, label, where = row["image"].replace("\\", "/"), class_name(row["label"]), f"{sheet}, line {line}"
        if problem := _unasked(image, row.get("id", ""), images):
            read.problems.append(f"{where}: {problem}")
        elif not label:
            continue
        elif label.casefold() == SKIP and label not in classes:
            read.skipped.add(image)
        elif label not in classes:
            how = f"--new {label!r} makes it a class on purpose"
            read.problems.append(f"{where}: {label!r} is no class{nearest(label, classes)}. {how}")
        elif read.labels.setdefault(image, (line, label))[1] != label:
            first, other = read.labels[image]
            read.problems.append(f"{where}: {image} is {label!r} here and {other!r} in line {first}. Decide for one")
    read.skipped -= read.labels.keys()
    read.empty = len(images) - len(read.labels) - len(read.skipped)
    return read


def _unasked(image: str, written: str, images: Mapping[str, Any]) -> str:
    """Why a line is none of this question's; a second question has images of the same names."""
    if image not in images:
        return f"{image or 'no image'} is not what was asked about. Take the line out"
    own = images[image]["id"]
    if written not in ("", own):
        return f"{image} is {own} here, and the line is about {written}. Is the sheet another folder's?"
    return ""


def _additions(
    folder: Path, images: Mapping[str, Any], read: Read, domains: Mapping[str, str]
) -> Iterator[Addition]:  # fmt: skip
    """The answered images, whose bytes are those that were asked about."""
    for image, (_, label) in sorted(read.labels.items()):
        path, digest = folder / image, images[image]["sha256"]
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            read.problems.append(f"{path} is not the image that was asked about. Ask anew, into another folder")
        else:
            yield Addition(path, own_name(images[image]["id"], digest, path.suffix), label, domains[image])


def _fresh(additions: Sequence[Addition], there: Scan, read: Read, sheet: Path) -> Iterator[Addition]:
    """Those that are not there yet; of those that are there with another label the sheet is told."""
    labels = {posixpath.basename(image.id): (image.id, image.label) for image in there.found}
    for one in additions:
        name, label = labels.get(posixpath.basename(one.name), ("", one.label))
        if label != one.label:
            read.problems.append(
                f"{sheet}: {one.image.name} is {one.label!r}, and was answered before as {label!r} ({name}). Take that "
                "one out of the labelled images, or this label"
            )
        elif not name:
            yield one


def _told(
    additions: Sequence[Addition], fresh: Sequence[Addition], read: Read, place: Path, params: Params, new: set[str]
) -> Iterator[str]:
    """What a person should know."""
    counts = ", ".join(f"{label} {number}" for label, number in sorted(Counter(one.label for one in fresh).items()))
    yield f"{len(fresh)} image(s) added to {place}{f': {counts}' if counts else ''}"
    yield (
        f"{len(additions) - len(fresh)} were there already; left out: {read.empty} without a label, "
        f"{len(read.skipped)} called {SKIP}"
    )
    split = params.split
    if not fresh:
        return
    if new:
        yield f"New: {', '.join(sorted(new))}. Models that were made before do not know it; dvc repro trains all again"
    if split.labels_per_class is not None:
        yield (
            f"split.labels_per_class is {split.labels_per_class}: of a class that has more images the answers may lose "
            "their label and join the pool again. Write null, so that none is lost"
        )
    if params.ingest.test is None:
        yield (
            f"ingest.test is null: of the answers, too, a share of {split.test_fraction} (split.test_fraction) becomes "
            "the test, which was drawn by chance until now"
        )
    yield "Next: dvc repro report"
