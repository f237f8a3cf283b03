"""Several COCO JSONs as one source, each marked for its own classes."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa

from tutelage.data import masks
from tutelage.data.coco import Coco
from tutelage.data.coco_boxes import Size
from tutelage.data.records import Scan
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


def join(parts: Mapping[str, Coco], *, classes: list[str], root: Path) -> Coco:
    """The files of one source, by name, as one whose paths are relative to `root`.

    An image was searched for the classes of the files that list it alone; `unsearched` of the answer has the others.
    Labels become places in `classes`, which holds those of all files.
    Raises BadInput where a file has no category, and where two that share a class list the same image.
    """
    first = next(iter(parts.values()))
    whole = Coco(Scan(first.scan.source, root.as_posix(), table=True), ", ".join(parts), classes=classes)
    owners, found = _Owners(), {}
    for name, part in parts.items():
        if not part.declared:
            raise BadInput(f"{name} has no category, so nobody knows what its images were searched for. Name them")
        ids = _below(part, root)
        for image in part.scan.found:
            there = ids[image.id]
            owners.add(there, name, part.declared)
            found[there] = replace(image, id=there, path=there.partition("/")[2])
            old, new = whole.images.get(there), replace(part.images[image.id], id=ids[image.id])
            if old is not None and None not in (old.size, new.size) and old.size != new.size:
                files = " and ".join(owners.files[there])
                raise BadInput(
                    f"{files} say two sizes of {there.partition('/')[2]}: {old.size}, {new.size}. Correct one"
                )
            whole.images[there] = (
                new if old is None else replace(old, size=old.size or new.size, domain=old.domain or new.domain)
            )
        whole.scan.refused += [replace(one, id=_moved(one.id, part, root)) for one in part.scan.refused]
        whole.annotations += [
            replace(
                one, image=ids[one.image], label=classes.index(part.classes[one.label]), where=f"{name}: {one.where}"
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


def _below(part: Coco, root: Path) -> dict[str, str]:
    """The id of each image of a file, where paths are relative to `root`."""
    return {image: _moved(image, part, root) for image in part.images}


def _moved(image: str, part: Coco, root: Path) -> str:
    source, _, path = image.partition("/")
    return f"{source}/{os.path.normpath(os.path.join(os.path.relpath(part.scan.root, root), path))}"
