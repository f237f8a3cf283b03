"""Boxes that people have corrected, back into the labelled images."""

import hashlib
import json
import posixpath
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks.answer_places import BESIDE, Addition, copied, own_name, refused
from tasks.io import write_whole
from tasks.mistakes import nearest
from tasks.params import Params
from tasks.places import OURS
from tutelage.data.coco import Key, key_of, load_coco
from tutelage.data.coco_boxes import is_box
from tutelage.data.coco_file import as_lines
from tutelage.data.folders import class_name
from tutelage.data.sources import check
from tutelage.types import BadInput


@dataclass
class Corrected:
    """What the corrected file says, checked."""

    images: dict[str, dict[str, Any]] = field(default_factory=dict)  # as it was asked about -> record
    objects: dict[str, list[tuple[str, dict[str, Any]]]] = field(default_factory=dict)  # class, annotation
    problems: list[str] = field(default_factory=list)


def box_answer(folder: Path, asked: Mapping[str, Any], *, params: Params, new: Sequence[str]) -> list[str]:
    """Add the images of a corrected ask.json, and their objects, to the COCO JSON that `detection.ingest` names; what
    to tell a person. Raises BadInput with all that is wrong; then nothing was added.

    Images get new ids and are copied to asked/ in the folder that file names are relative to; categories are compared
    by name. The file has all of them or none. What the rest of it says stays.
    """
    wanted, sheet = params.detection.ingest, folder / asked["sheet"]
    root = Path(wanted.root)
    check(root, wanted.labelled, "labelled")
    path = root / wanted.labelled
    beside = path.parent if wanted.labelled_images is None else root / wanted.labelled_images
    content = _sound(path)
    numbers = {class_name(str(one["name"])): one["id"] for one in content["categories"]}
    read = _read(sheet, asked, numbers.keys() | {class_name(name) for name in new})
    there = {posixpath.basename(str(one["file_name"])) for one in content["images"]}
    fresh = []
    for image in sorted(read.images):
        source, about = folder / image, asked["images"][image]
        if not source.is_file() or hashlib.sha256(source.read_bytes()).hexdigest() != about["sha256"]:
            read.problems.append(f"{source} is not the image that was asked about. Ask anew, into another folder")
        name = own_name(about["id"], about["sha256"], source.suffix)
        if posixpath.basename(name) not in there:
            fresh.append((image, Addition(source, name, "")))
    if read.problems:
        raise refused(read.problems)
    if fresh:
        _merge(content, fresh, read, numbers)
        if content.get("info") == json.loads(OURS[:-1] + b"}")["info"]:
            del content["info"]  # `init` would write the file again, without what people have drawn
        with copied(beside, [(one.image, beside / BESIDE / one.name) for _, one in fresh]):
            write_whole(path.resolve(), as_lines(content).encode())
    return list(_told(fresh, read, path, params))


def _read(sheet: Path, asked: Mapping[str, Any], classes: Collection[str]) -> Corrected:
    if hashlib.sha256(sheet.read_bytes()).hexdigest() == asked["sha256"]:
        raise BadInput(
            f"{sheet} is as it was written, and its boxes are the model's own. Correct them, and take images that "
            "nobody has looked at out of it"
        )
    content, read = _sound(sheet), Corrected()
    names = {key_of(one.get("id")): class_name(str(one.get("name"))) for one in content["categories"]}
    by_file = {posixpath.basename(image): image for image in asked["images"]}
    ids: dict[Key | None, str] = {}
    for number, one in enumerate(content["images"]):
        written = str(one.get("file_name"))
        image = by_file.get(posixpath.basename(written.replace("\\", "/")))
        if image is None:
            read.problems.append(f"{sheet}, images[{number}]: {written} is not what was asked about. Take it out")
        else:
            ids[key_of(one.get("id"))], read.images[image], read.objects[image] = image, one, []
    for number, one in enumerate(content["annotations"]):
        image, name = ids.get(key_of(one.get("image_id"))), names.get(key_of(one.get("category_id")))
        problem = _problem(one, image, name, classes)
        if problem:
            read.problems.append(f"{sheet}, annotations[{number}] {problem}")
        elif image is not None and name is not None:
            read.objects[image].append((name, one))
    return read


def _sound(path: Path) -> dict[str, Any]:
    """A COCO JSON whose records can be compared. Raises BadInput."""
    content = load_coco(path)
    for part, name in (("images", "file_name"), ("categories", "name"), ("annotations", "image_id")):
        for number, record in enumerate(content[part]):
            if not isinstance(record, dict) or key_of(record.get("id")) is None or name not in record:
                raise BadInput(f"{path}, {part}[{number}] has no id or no {name}. Mend or remove it")
    return content


def _problem(one: dict[str, Any], image: str | None, name: str | None, classes: Collection[str]) -> str:
    if image is None:
        return f"is of image {one.get('image_id')}, which is not in `images`. Take it out"
    if name is None:
        return f"has the category {one.get('category_id')}, which is not in `categories`. Correct it"
    if name not in classes:
        return f"is a {name!r}, which is no class{nearest(name, classes)}. --new {name!r} makes it a class on purpose"
    box = one.get("bbox")
    if not one.get("segmentation") and not (isinstance(box, list) and is_box(box) and min(box[2:]) > 0):
        return f"has the box {box}: it is x, y, width, height in pixels. Draw it again"
    return ""


def _merge(
    content: dict[str, Any], fresh: Sequence[tuple[str, Addition]], read: Corrected, numbers: dict[str, Any]
) -> None:
    """Append records under ids that no other has."""
    used = {name for image, _ in fresh for name, _ in read.objects[image]}
    for name in sorted(used - numbers.keys()):
        numbers[name] = _free(content["categories"])
        content["categories"].append({"id": numbers[name], "name": name})
    first, number = _free(content["images"]), _free(content["annotations"])
    for place, (image, one) in enumerate(fresh, start=first):
        own = {"id": place, "file_name": f"{BESIDE}/{one.name}"}
        size = {name: read.images[image][name] for name in ("width", "height") if name in read.images[image]}
        content["images"].append(own | size)
        for name, annotation in read.objects[image]:
            kept = {key: value for key, value in annotation.items() if key != "score"}  # it was the model's
            content["annotations"].append(kept | {"id": number, "image_id": place, "category_id": numbers[name]})
            number += 1


def _free(records: Sequence[Mapping[str, Any]]) -> int:
    """An id above all others."""
    keys = [key_of(one.get("id")) for one in records]
    return max((key for key in keys if isinstance(key, int)), default=0) + 1


def _told(fresh: Sequence[tuple[str, Addition]], read: Corrected, path: Path, params: Params) -> Iterator[str]:
    """What a person should know."""
    objects = sum(len(read.objects[image]) for image, _ in fresh)
    yield f"{len(fresh)} image(s) with {objects} object(s) added to {path}"
    yield f"{len(read.images) - len(fresh)} were there already"
    if fresh and params.detection.split.images is not None:
        yield (
            f"detection.split.images is {params.detection.split.images}: where there are more labelled images, the "
            "answers may lose their boxes and join the pool again. Write null, so that none is lost"
        )
    if fresh and params.detection.ingest.test is None:
        yield (
            "detection.ingest.test is null: of the answers, too, a share of detection.split.test_fraction becomes the "
            "test, which was drawn by chance until now"
        )
    if fresh:
        yield "Next: dvc repro box_report"
