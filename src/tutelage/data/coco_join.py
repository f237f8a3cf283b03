"""Several COCO JSONs as one source, each marked for its own classes."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa

from tutelage.data import masks
from tutelage.data.coco import Coco, Listed
from tutelage.data.coco_boxes import Size
from tutelage.data.records import Refusal, Scan
from tutelage.data.scenes import BOXES
from tutelage.types import BadInput


@dataclass(slots=True)
class _Owners:
    """Which file lists an image, of which classes it marks the objects."""

    files: dict[str, dict[str, set[str]]] = field(default_factory=dict)  # image -> file -> classes

    def add(self, image: str, file: str, classes: set[str]) -> None:
        """Raises BadInput where another file marks one of the classes in the image, too."""
        for other, own in self.files.setdefault(image, {}).items():
            if shared := sorted(own & classes):
                raise BadInput(
                    f"{other} and {file} both list {image.partition('/')[2]}, and both mark {shared[0]!r}, so it is "
                    "unclear which of them has all of it. Take the image out of one of them, or merge its objects into "
                    f"the other and take the category {shared[0]!r} out of one"
                )
        self.files[image][file] = classes


def union(parts: Sequence[Coco]) -> list[str]:
    """The classes of all files, in the order of their first appearance."""
    return list(dict.fromkeys(name for part in parts for name in part.classes))


def join(parts: Sequence[Coco], *, classes: list[str], root: Path) -> Coco:
    """The files of one source as one whose paths are relative to `root`.

    What is told of an image or a record says of which file it is. An image was searched for the classes of the files
    that list it alone; `unsearched` of the answer has the others. Labels become places in `classes`, which holds those
    of all files.
    Raises BadInput where a file has no category, and where two list the same image and share a class or say two sizes
    of it.
    """
    whole = Coco(Scan(parts[0].scan.source, root.as_posix(), table=True), "", classes=classes)
    owners, found = _Owners(), {}
    for part in parts:
        if not part.declared:
            raise BadInput(f"{part.name} has no category, so nobody knows what its images were searched for. Name them")
        ids = _below(part, root)
        for image in part.scan.found:
            there = ids[image.id]
            owners.add(there, part.name, part.declared)
            found[there] = replace(image, id=there, path=there.partition("/")[2])
            new = replace(part.images[image.id], id=there)
            whole.images[there] = _agreed(whole.images[there], new) if there in whole.images else new
        whole.scan.refused += _named(part.scan.refused, part, root)
        whole.annotations += [
            replace(
                one,
                image=ids[one.image],
                label=classes.index(part.classes[one.label]),
                where=f"{part.name}: {one.where}",
            )
            for one in part.annotations
        ]
        whole.repairs += part.repairs
        whole.refused += part.refused
        whole.doubtful |= {ids[image] for image in part.doubtful}
    whole.scan.found = [found[image] for image in sorted(found)]
    whole.scan.refused.sort(key=lambda refusal: refusal.id)
    for name, marked in owners.files.items():
        missing = set(classes).difference(*marked.values())
        if missing:
            whole.unsearched[name] = {classes.index(one) for one in missing}
    return whole


def unsearched_table(coco: Coco, sizes: Mapping[str, Size]) -> pa.Table:
    """A crowd over the whole image (BOXES) of each class that an image in `sizes` was not searched for.

    It has a mask, so that pixels in it are of no class.
    """
    rows = []
    for image in sorted(coco.unsearched.keys() & sizes.keys()):
        wide, high = sizes[image]
        mask = masks.to_counts({"size": [high, wide], "counts": [0, wide * high]}, wide, high)
        place = {"x1": 0.0, "y1": 0.0, "x2": float(wide), "y2": float(high)}
        rows += [
            {"id": image, "label": label, "crowd": True, "area": float(wide * high), "mask": mask} | place
            for label in sorted(coco.unsearched[image])
        ]
    return pa.Table.from_pylist(rows, schema=BOXES)


def _agreed(old: Listed, new: Listed) -> Listed:
    """One image as two files list it. Raises BadInput where they say two sizes."""
    sized = [one for one in (old, new) if one.size is not None]
    files = tuple(file for one in sized for file in one.files)
    if len({one.size for one in sized}) > 1:
        image = new.id.partition("/")[2]
        raise BadInput(f"{' and '.join(files)} say two sizes of {image}: {old.size}, {new.size}. Correct one")
    return replace(old, size=old.size or new.size, files=files, domain=old.domain or new.domain)


def _named(refused: Iterable[Refusal], part: Coco, root: Path) -> list[Refusal]:
    return [replace(one, id=_moved(one.id, part, root), detail=f"{part.name}: {one.detail}") for one in refused]


def _below(part: Coco, root: Path) -> dict[str, str]:
    """The id of each image of a file, where paths are relative to `root`."""
    return {image: _moved(image, part, root) for image in part.images}


def _moved(image: str, part: Coco, root: Path) -> str:
    source, _, path = image.partition("/")
    return f"{source}/{os.path.normpath(os.path.join(os.path.relpath(part.scan.root, root), path))}"
