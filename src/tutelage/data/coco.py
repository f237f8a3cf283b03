"""COCO JSON from anywhere: it is taken as far as it can be understood, and every record that cannot is named."""

import json
import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tutelage.data.folders import class_name, is_utf8, locate
from tutelage.data.masks import is_number
from tutelage.data.records import Found, Scan, SourceName
from tutelage.types import BadInput

Key = int | str  # an id; COCO's are numbers
Located = tuple[str, dict[str, Any], Key, str | None]  # address, record, id, image; None: no file that can be used


@dataclass(frozen=True, slots=True)
class Listed:
    """An image as the JSON has it."""

    id: str  # source/relative/path
    size: tuple[int, int] | None  # width, height as written; None where they are missing or no sizes
    domain: str
    files: tuple[str, ...]  # that say this size


@dataclass(frozen=True, slots=True)
class Annotation:
    """An object as the JSON has it; `tutelage.data.coco_boxes` looks at its place."""

    image: str  # id of a Listed
    label: int  # place in classes
    bbox: Any
    segmentation: Any
    area: Any
    crowd: bool
    where: str  # how a person finds it: annotations[12] (id 7)
    keypoints: Any = None  # x, y, v of each


@dataclass(slots=True)
class Coco:
    """What one file says. `repairs` and `refused` are sentences, each naming the record that it is about."""

    scan: Scan
    name: str  # of the file; "" of several, each of whose records says its own
    classes: list[str] = field(default_factory=list)
    declared: set[str] = field(default_factory=set)  # classes that its own categories name
    images: dict[str, Listed] = field(default_factory=dict)
    annotations: list[Annotation] = field(default_factory=list)
    repairs: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)  # of annotations and categories; of images see `scan`
    doubtful: set[str] = field(default_factory=set)  # images that lack an object, since it was refused
    unsearched: dict[str, set[int]] = field(default_factory=dict)  # image -> classes that nobody looked for in it
    silent: bool = False  # of a pool: it lists images, and says of none what is in it

    def repair(self, sentence: str) -> None:
        self.repairs.append(self._of_file(sentence))

    def refuse(self, sentence: str) -> None:
        self.refused.append(self._of_file(sentence))

    def _of_file(self, sentence: str) -> str:
        return f"{self.name}: {sentence}" if self.name else sentence


def read_coco(
    path: Path, *, folder: Path, boundary: Path, source: SourceName, classes: list[str] | None = None
) -> Coco:
    """The images, classes and objects of a COCO JSON; no image is opened.

    `folder`: what file names are relative to. `boundary`: no image may lie outside of it, and sentences name the file
    as it lies in it. `classes`: what the labelled images have, where this is another source; labels count them by
    name, whatever their ids in this file. A pool needs neither annotations nor categories.
    Raises BadInput where the file as a whole cannot be used.
    """
    scan = Scan(source, folder.as_posix(), table=True)
    coco = Coco(scan, os.path.relpath(path, boundary))
    content = load_coco(path, lone_images=source == "pool")
    coco.silent = source == "pool" and not content["annotations"]
    numbers = _categories(coco, content, classes)
    names = _images(coco, content, folder, os.path.realpath(boundary))
    _annotations(coco, content, names, numbers)
    if content["images"] and not scan.found:
        first = scan.refused[0]
        raise BadInput(
            f"{path}: none of its {len(content['images'])} images can be used; {first.id}: {first.detail}. File names "
            f"are taken relative to {folder}: name the folder they lie in as detection.ingest.{source}_images, or "
            "write null where they lie beside the JSON"
        )
    scan.found.sort(key=lambda image: image.id)
    scan.refused.sort(key=lambda refusal: refusal.id)
    return coco


def load_coco(path: Path, *, lone_images: bool = False) -> dict[str, Any]:
    """The content of a COCO JSON, whose records may be anything; `lone_images`: it needs neither annotations nor
    categories. Raises BadInput.
    """
    try:
        content = json.loads(path.read_bytes())
    except json.JSONDecodeError as error:
        raise BadInput(f"{path}, line {error.lineno}, column {error.colno}: no JSON ({error.msg})") from error
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # not UTF-8, a number of thousands of digits, lists in lists
        raise BadInput(f"{path}: no JSON ({error})") from error
    if lone_images and isinstance(content, dict):
        content = {"annotations": [], "categories": []} | content
    wanted = ("images", "annotations", "categories")
    missing = [key for key in wanted if not isinstance(content, dict) or not isinstance(content.get(key), list)]
    if missing:
        raise BadInput(
            f"{path} is no COCO JSON: it has no list {', '.join(missing)}. It takes an object with the lists "
            "images (id, file_name, width, height), annotations (image_id, category_id, bbox) and categories (id, name)"
        )
    return dict(content)


def _categories(coco: Coco, content: dict[str, Any], classes: list[str] | None) -> dict[Key, int]:
    """The class of each category id, as its place in `coco.classes`."""
    names: dict[Key, str] = {}
    firsts: dict[str, Key] = {}
    for where, record in _records(coco, content, "categories"):
        key, name = key_of(record.get("id")), record.get("name")
        if key is None or not isinstance(name, str) or not name.strip() or not is_utf8(name):
            coco.refuse(f"{where} lacks an id or a name; its annotations are left out. Give it both")
            continue
        name = class_name(name)
        if names.get(key, name) != name:
            raise BadInput(f"{coco.name}: two categories have the id {key}: {names[key]!r} and {name!r}. Number them")
        if firsts.setdefault(name, key) != key:
            coco.repair(f"{where} is called {name!r} as category {firsts[name]} is; both are taken for one class")
        names[key] = name
    _tell_strings(coco, content, "categories", "id")
    if not names and content["annotations"]:  # without any, it may list images with a depth alone
        raise BadInput(
            f"{coco.name} has annotations and no category, so they are of nothing. Name the classes in `categories`"
        )
    coco.declared = set(firsts)
    coco.classes = sorted(firsts) if classes is None else classes
    strange = sorted(set(firsts) - set(coco.classes))
    if strange:
        raise BadInput(
            f"{coco.name} has the categories {', '.join(strange)}, which the labelled images do not have; they have "
            f"{', '.join(coco.classes)}. Categories are compared by name: rename or remove those"
        )
    return {key: coco.classes.index(name) for key, name in names.items()}


def _images(coco: Coco, content: dict[str, Any], folder: Path, boundary: str) -> dict[Key, str | None]:
    """The image of each image id; None where it cannot be used."""
    names: dict[Key, str | None] = {}
    located = list(_located(coco, content, folder, boundary))
    unclear = _unclear(located)
    for file in sorted(unclear):
        detail = "another image has the same id, so it is unclear whose the objects are; number them anew"
        coco.scan.refuse(file.partition("/")[2], "unreadable", detail)
    for where, record, key, image in located:
        if image is None or image in unclear:
            names[key] = None
            continue
        names[key], name = image, image.partition("/")[2]
        if image in coco.images:
            coco.repair(f"{where} lists {name} once more; the objects of both entries are taken for its own")
            continue
        length = os.stat(folder / name).st_size
        coco.scan.found.append(Found(image, coco.scan.source, name, 0, length))
        coco.images[image] = Listed(image, _size(coco, where, record), _domain(record), (coco.name,))
    _tell_strings(coco, content, "images", "id")
    return names


def _located(coco: Coco, content: dict[str, Any], folder: Path, boundary: str) -> Iterator[Located]:
    for where, record in _records(coco, content, "images"):
        key, written = key_of(record.get("id")), record.get("file_name")
        if key is None or not isinstance(written, str) or not written.strip():
            coco.scan.refuse(where, "unreadable", "it has no id or no file_name; give it both")
            continue
        name, problem = locate(folder, written.strip(), boundary, "the folder that file names are relative to")
        if problem is not None:
            coco.scan.refuse(name, *problem)
        yield where, record, key, f"{coco.scan.source}/{name}" if problem is None else None


def _unclear(located: list[Located]) -> set[str]:
    """Files of which another has an id, even one that is missing: nobody knows whose the objects are."""
    files: dict[Key, set[str | None]] = defaultdict(set)
    for _, _, key, image in located:
        files[key].add(image)
    return {image for some in files.values() if len(some) > 1 for image in some if image is not None}


def _annotations(coco: Coco, content: dict[str, Any], images: dict[Key, str | None], labels: dict[Key, int]) -> None:
    for where, record in _records(coco, content, "annotations"):
        image, category = key_of(record.get("image_id")), key_of(record.get("category_id"))
        crowd = _crowd(coco, where, record.get("iscrowd", 0))
        if image is None or image not in images:
            coco.refuse(
                f"{where} is of image {_shown(record.get('image_id'))}, which is not in `images`. Add or remove it"
            )
        elif (name := images[image]) is None:
            continue
        elif category is None or category not in labels:
            coco.doubtful.add(name)
            written = _shown(record.get("category_id"))
            coco.refuse(
                f"{where} has the category {written}, which is not in `categories`. Add the category or correct it"
            )
        elif crowd is None:
            coco.doubtful.add(name)
            coco.refuse(f"{where} has iscrowd {_shown(record['iscrowd'])}. Write 0, or 1 for a group under one box")
        else:
            shape = (record.get("bbox"), record.get("segmentation"), record.get("area"))
            points = record.get("keypoints")
            coco.annotations.append(Annotation(name, labels[category], *shape, crowd, where, points))
    for name in ("image_id", "category_id"):
        _tell_strings(coco, content, "annotations", name)


def _crowd(coco: Coco, where: str, written: Any) -> bool | None:
    """None where it is no flag."""
    if isinstance(written, bool | int | float) and written in (0, 1):
        return bool(written)
    if written is None or written in ("0", "1"):
        coco.repair(f"{where} has iscrowd {_shown(written)}; read as {written or 0}")
        return bool(written == "1")
    return None


def _records(coco: Coco, content: dict[str, Any], part: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each record with its address; what is none is told."""
    for place, record in enumerate(content[part]):
        where = f"{part}[{place}]"
        if isinstance(record, dict):
            yield f"{where} (id {_shown(record.get('id'))})" if "id" in record else where, record
        elif part == "images":
            coco.scan.refuse(where, "unreadable", "it is no object; write {id, file_name, width, height}")
        else:
            coco.refuse(f"{where} is {_shown(record)}, no object. Remove it")


def key_of(value: Any) -> Key | None:
    """An id as it is compared, None where it is none: 12, 12.0 and "12" are one id."""
    if isinstance(value, str) and value.strip():
        text = value.strip()
        return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else text
    return int(value) if is_number(value) and value == int(value) else None


def _tell_strings(coco: Coco, content: dict[str, Any], part: str, name: str) -> None:
    strings = [
        record[name] for record in content[part] if isinstance(record, dict) and isinstance(record.get(name), str)
    ]
    if strings:
        coco.repair(
            f"{part}: {len(strings)} have a string as {name}, such as {_shown(strings[0])}; read as what it says"
        )


def _size(coco: Coco, where: str, record: dict[str, Any]) -> tuple[int, int] | None:
    width, height = record.get("width"), record.get("height")
    if is_number(width) and is_number(height) and width == int(width) > 0 and height == int(height) > 0:
        return int(width), int(height)
    coco.repair(f"{where} has width {_shown(width)} and height {_shown(height)}; the file's are taken")
    return None


def _domain(record: dict[str, Any]) -> str:
    domain = record.get("domain")
    return domain if isinstance(domain, str) and is_utf8(domain) else ""


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
