"""What people have made of the boxes that a detector suggested."""

import posixpath
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tasks.asked import SUGGESTED
from tasks.mistakes import nearest
from tutelage.data.coco import Key, key_of, load_coco
from tutelage.data.coco_boxes import is_box
from tutelage.data.folders import class_name
from tutelage.data.masks import Malformed, to_counts
from tutelage.types import BadInput

UPLOADED = re.compile("[0-9a-f]{8}-")  # what Label Studio puts before a file's name
SAME = 0.1  # pixels that a box moves by where a program writes it anew

Size = tuple[int, int]  # width, height
Object = tuple[str, dict[str, Any]]  # class, annotation


@dataclass
class Corrected:
    """What the corrected file says, checked."""

    sizes: dict[str, Size] = field(default_factory=dict)  # of the images that it lists, by the name in asked.json
    objects: dict[str, list[Object]] = field(default_factory=dict)
    untouched: set[str] = field(default_factory=set)  # whose objects are all the detector's own
    problems: list[str] = field(default_factory=list)


def read_corrected(folder: Path, asked: Mapping[str, Any], classes: Collection[str]) -> Corrected:
    """The file that people have saved, as programs export it: ids, order and folders of names are theirs.

    Raises BadInput where it cannot be read at all, or still has all that was suggested and nothing else.
    """
    suggested = load_coco(folder / SUGGESTED)
    sizes = {f"images/{one['file_name']}": (one["width"], one["height"]) for one in suggested["images"]}
    own = _read(folder / SUGGESTED, suggested, sizes, {one["name"] for one in suggested["categories"]})
    sheet = folder / asked["sheet"]
    read = _read(sheet, sound_coco(sheet), sizes, classes)
    read.untouched = {image for image in read.sizes if _alike(read.objects[image], own.objects[image])}
    as_written = any(read.objects.values()) or sheet.read_bytes() == (folder / SUGGESTED).read_bytes()
    if read.untouched == sizes.keys() and as_written and not read.problems:
        raise BadInput(
            f"{sheet} is as it was written, and its boxes are the model's own. Correct them, and take images that "
            "nobody has looked at out of it"
        )
    return read


def sound_coco(path: Path) -> dict[str, Any]:
    """A COCO JSON whose records can be compared. Raises BadInput."""
    content = load_coco(path)
    for part, name in (("images", "file_name"), ("categories", "name"), ("annotations", "image_id")):
        for number, record in enumerate(content[part]):
            if not isinstance(record, dict) or key_of(record.get("id")) is None or name not in record:
                raise BadInput(f"{path}, {part}[{number}] has no id or no {name}. Mend or remove it")
    return content


def _read(sheet: Path, content: dict[str, Any], sizes: Mapping[str, Size], classes: Collection[str]) -> Corrected:
    read, names = Corrected(), dict[Key | None, str]()
    for number, one in enumerate(content["categories"]):
        name = class_name(str(one["name"]))
        if names.setdefault(key_of(one["id"]), name) != name:
            read.problems.append(f"{sheet}, categories[{number}] has the id of another category. Number them anew")
    images = _images(sheet, content, sizes, read)
    for number, one in enumerate(content["annotations"]):
        image, label = images.get(key_of(one["image_id"])), names.get(key_of(one.get("category_id")))
        if image == "":
            continue  # what is wrong with the image has been told
        problem = next(_problems(one, image, label, classes), "")
        if problem or image is None or label is None:
            read.problems.append(f"{sheet}, annotations[{number}] {problem}")
        else:
            read.objects[image].append((label, one))
            if problem := _misplaced(one, sizes[image]):
                read.problems.append(f"{sheet}, annotations[{number}] {problem}")
    return read


def _images(
    sheet: Path, content: dict[str, Any], sizes: Mapping[str, Size], read: Corrected
) -> dict[Key | None, str]:  # fmt: skip
    """The image of each id, "" where something is wrong with it."""
    images: dict[Key | None, str] = {}
    for number, one in enumerate(content["images"]):
        key, (image, problem) = key_of(one["id"]), _image(one, sizes)
        if not problem and images.get(key, image) != image:
            problem = "has the id of another image, so it is unclear whose the objects are. Number them anew"
        images[key] = "" if problem else image
        if problem:
            read.problems.append(f"{sheet}, images[{number}] {problem}")
        else:
            read.sizes[image], read.objects[image] = sizes[image], []
    return images


def _image(one: dict[str, Any], sizes: Mapping[str, Size]) -> tuple[str, str]:
    """The image that a record is about, and what is wrong with it."""
    written = str(one["file_name"])
    name = posixpath.basename(written.replace("\\", "/"))
    image = next(
        (each for each in (f"images/{name}", f"images/{UPLOADED.sub('', name, count=1)}") if each in sizes), ""
    )
    if not image:
        return "", f"is {written}, which is not what was asked about. Take it out"
    width, height = sizes[image]
    if (one.get("width") or width, one.get("height") or height) != (width, height):
        size = f"{one.get('width')} x {one.get('height')}"
        return image, (
            f"({written}) says {size}, and the image has {width} x {height} pixels, so its boxes may be of another "
            "size, too. Export them for images of their own size"
        )
    return image, ""


def _problems(
    one: dict[str, Any], image: str | None, name: str | None, classes: Collection[str]
) -> Iterator[str]:  # fmt: skip
    if image is None:
        yield f"is of image {one['image_id']}, which is not in `images`. Take it out"
    if name is None:
        yield f"has the category {one.get('category_id')}, which is not in `categories`. Correct it"
    elif name not in classes:
        yield f"is a {name!r}, which is no class{nearest(name, classes)}. --new {name!r} makes it a class on purpose"
    if one.get("iscrowd") not in (None, 0, 1, "0", "1"):
        yield f"has iscrowd {one['iscrowd']!r}. Write 0, or 1 for a group under one box"


def _misplaced(one: dict[str, Any], size: Size) -> str:
    """What is wrong with its box, where it has no mask to take one from."""
    box = one.get("bbox")
    if isinstance(box, list) and is_box(box) and min(box[2:]) > 0:
        inside = all(low < side and low + long > 0 for low, long, side in zip(box[:2], box[2:], size, strict=True))
        return "" if inside else f"has the box {box}, outside of its image of {size[0]} x {size[1]}. Draw it again"
    if not one.get("segmentation"):
        return f"has the box {box}: it is x, y, width, height in pixels. Draw it again"
    try:
        to_counts(one["segmentation"], *size)
    except Malformed as error:
        return f"has the box {box}, and its segmentation {error}. Draw it again"
    return ""


def _alike(objects: list[Object], others: list[Object]) -> bool:
    """Whether they are the same classes in the same places, in any order."""
    if len(objects) != len(others) or not all(is_box(one.get("bbox")) for _, one in objects):
        return False
    if not objects:
        return True
    here, there = (np.array([one["bbox"] for _, one in each]) for each in (objects, others))
    names, own = (np.array([name for name, _ in each]) for each in (objects, others))
    near = np.abs(here[:, None] - there).max(axis=2) < SAME
    return bool((near & (names[:, None] == own)).any(axis=1).all())
