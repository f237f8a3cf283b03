"""Several COCO JSONs as one: sets of which each was marked for classes of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pyarrow as pa

from tutelage.data.coco import Coco
from tutelage.data.coco_boxes import Size
from tutelage.data.scenes import BOXES
from tutelage.types import BadInput


def all_classes(files: Sequence[Coco]) -> list[str]:
    """The classes of any of them, by name."""
    return sorted({name for coco in files for name in coco.classes})


def joined(files: Sequence[Coco], classes: list[str]) -> Coco:
    """One Coco of files whose images lie in one folder, with labels that count `classes`.

    In an image were looked for the categories of the files that list it, and no others: `unsearched`. What is said of a
    record names its file. Raises BadInput where two files list an image and both were marked for a class.
    """
    whole = Coco(replace(files[0].scan, found=[], refused=[]), " + ".join(coco.name for coco in files), list(classes))
    listed: dict[str, list[Coco]] = {}
    for coco in files:
        for image in coco.images:
            listed.setdefault(image, []).append(coco)
        whole.images |= {image: record for image, record in coco.images.items() if image not in whole.images}
        whole.annotations += [
            replace(one, label=classes.index(coco.classes[one.label]), where=f"{coco.name}, {one.where}")
            for one in coco.annotations
        ]
        whole.repairs += coco.repairs
        whole.refused += coco.refused
        whole.doubtful |= coco.doubtful
        known = {found.id for found in whole.scan.found}
        whole.scan.found += [found for found in coco.scan.found if found.id not in known]
        whole.scan.refused += coco.scan.refused
    whole.scan.found.sort(key=lambda image: image.id)
    whole.scan.refused.sort(key=lambda refusal: refusal.id)
    for image, sources in listed.items():
        _check_apart(image, sources)
        known_classes = {name for coco in sources for name in coco.looked_for}
        if missing := [label for label, name in enumerate(classes) if name not in known_classes]:
            whole.unsearched[image] = missing
    return whole


def _check_apart(image: str, files: Sequence[Coco]) -> None:
    for place, one in enumerate(files):
        for other in files[place + 1 :]:
            if common := sorted(one.looked_for & other.looked_for):
                raise BadInput(
                    f"{one.name} and {other.name} both list {image.partition('/')[2]} and both have the category "
                    f"{common[0]!r}, so it is unclear which of them says what is there. List the image in one of them, "
                    "or leave the category to one"
                )


def unsearched_table(coco: Coco, sizes: Mapping[str, Size]) -> pa.Table:
    """A crowd (BOXES) over the whole of each image in `sizes` for each class that nobody looked for in it.

    So it is neither background where a detector is trained nor an error where it is measured.
    """
    rows = [
        {"id": image, "label": label, "crowd": True, "mask": "", "x1": 0.0, "y1": 0.0}
        | {"x2": float(width), "y2": float(height), "area": float(width * height)}
        for image, (width, height) in sorted(sizes.items())
        for label in coco.unsearched.get(image, ())
    ]
    return pa.Table.from_pylist(rows, schema=BOXES)
