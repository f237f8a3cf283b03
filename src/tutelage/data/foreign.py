"""Boxes as YOLO and PASCAL VOC write them, as the content of a COCO JSON."""

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO
from xml.etree import ElementTree

from PIL import Image, UnidentifiedImageError

from tutelage.data.coco_file import categories
from tutelage.data.decoding import SUFFIXES
from tutelage.types import BadInput

Placed = tuple[int, dict[str, Any]]  # an object: the number of its class, counted from 0, and where it is
_TURNED = (5, 6, 7, 8)  # values of EXIF's orientation that exchange width and height
_ORIENTATION = 0x0112


def from_yolo(folders: Iterable[Path], names: Sequence[str], root: Path) -> dict[str, Any]:
    """The images below `folders` with their objects. `.../images/a.jpg` has `.../labels/a.txt`, or a text beside it.

    A line is `class x y width height` (of the centre, as shares of the image) or `class` and the corners of a polygon.
    An image without a text file has no objects, as YOLO takes it. File names are relative to `root`.
    Raises BadInput, with file and line.
    """
    given = ((path, _yolo_objects(_labels(path), path, len(names))) for folder in folders for path in images_of(folder))
    return _content(given, names, root)


def from_voc(files: Iterable[Path], root: Path) -> dict[str, Any]:
    """The images of XML files with their objects; those that are `difficult` count neither as found nor as missed.

    An image lies beside its XML, or in JPEGImages/ or images/ beside the XML's folder. Pixels count from 1, and the
    last one belongs to the box. Classes are those that occur, by name. Raises BadInput, with the file.
    """
    parsed = [(path, _xml(path)) for path in files]
    names = sorted({_text(path, thing, "name") for path, page in parsed for thing in page.iter("object")})
    given = ((_image(path, page), _voc_objects(path, page, names)) for path, page in parsed)
    return _content(given, names, root)


def without_objects(paths: Iterable[Path], root: Path) -> dict[str, Any]:
    """Images of which nothing is known: what a pool is."""
    return _content(((path, ()) for path in paths), (), root)


def images_of(folder: Path) -> list[Path]:
    """Images in a folder and below, in order."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)


def text_of(path: Path) -> str:
    """Raises BadInput where it is not UTF-8."""
    try:
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(f"{path} is not UTF-8 text ({error}). Save it as UTF-8, or move it away") from error


def _content(given: Iterable[tuple[Path, Iterable[Placed]]], names: Sequence[str], root: Path) -> dict[str, Any]:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for path, objects in given:
        image: dict[str, Any] = {"id": len(images) + 1, "file_name": os.path.relpath(path, root)}
        if size := size_of(path):
            image |= {"width": size[0], "height": size[1]}
        images.append(image)
        annotations += [
            {"id": number, "image_id": image["id"], "category_id": label + 1, **place}
            for number, (label, place) in enumerate(objects, start=len(annotations) + 1)
        ]
    return {"images": images, "annotations": annotations, "categories": categories(names)}


def size_of(file: Path | BinaryIO) -> tuple[int, int] | None:
    """Width and height as a person sees them, from the head of the file; None where it is no image: ingest says why."""
    try:
        with Image.open(file) as image:
            turned = image.getexif().get(_ORIENTATION) in _TURNED
            return (image.height, image.width) if turned else (image.width, image.height)
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError):
        return None


def _labels(image: Path) -> Path:
    beside = image.with_suffix(".txt")
    parts = list(beside.parts)
    places = [place for place, part in enumerate(parts[:-1]) if part == "images"]
    if not places:
        return beside
    parts[places[-1]] = "labels"
    there = Path(*parts)
    return there if there.is_file() else beside


def _yolo_objects(path: Path, image: Path, classes: int) -> Iterator[Placed]:
    if not path.is_file() or (size := size_of(image)) is None:
        return
    for number, line in enumerate(text_of(path).splitlines(), start=1):
        if line.strip():
            yield _yolo_object(line.split(), f"{path}, line {number}", size, classes)


def _yolo_object(words: Sequence[str], where: str, size: tuple[int, int], classes: int) -> Placed:
    try:
        label, numbers = int(words[0]), [_finite(word) for word in words[1:]]
    except ValueError as error:
        raise BadInput(
            f"{where} is {' '.join(words)[:60]!r}: write `class x y width height`, all finite numbers"
        ) from error
    polygon = len(numbers) >= 6 and len(numbers) % 2 == 0
    if len(numbers) != 4 and not polygon:
        raise BadInput(
            f"{where} has {len(words)} numbers: write `class x y width height`, or a class and three corners"
        )
    if not 0 <= label < classes:
        raise BadInput(f"{where} is of class {label}, and `names` has {classes}, counted from 0. Name it there")
    if polygon:
        corners = [round(value * size[place % 2], 3) for place, value in enumerate(numbers)]
        left, top, right, bottom = min(corners[::2]), min(corners[1::2]), max(corners[::2]), max(corners[1::2])
        return label, {"bbox": [left, top, right - left, bottom - top], "segmentation": [corners], "iscrowd": 0}
    (x, y, width, height), (wide, high) = numbers, size
    box = [(x - width / 2) * wide, (y - height / 2) * high, width * wide, height * high]
    return label, {"bbox": [round(value, 3) for value in box], "iscrowd": 0}


def _finite(word: str) -> float:
    number = float(word)
    if not math.isfinite(number):
        raise ValueError(f"{word} is not finite")
    return number


def _xml(path: Path) -> ElementTree.Element:
    try:
        return ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise BadInput(f"{path} is no XML: {error}. Mend or remove it") from error


def _voc_objects(path: Path, page: ElementTree.Element, names: Sequence[str]) -> Iterator[Placed]:
    for thing in page.iter("object"):
        try:
            left, top, right, bottom = (_finite(_text(path, thing, f"bndbox/{side}")) for side in _SIDES)
        except ValueError as error:
            raise BadInput(f"{path} has a bndbox that is no box: {error}. Mend or remove it") from error
        place = {"bbox": [left - 1, top - 1, right - left + 1, bottom - top + 1]}
        crowd = int((thing.findtext("difficult") or "0").strip() == "1")
        yield names.index(_text(path, thing, "name")), {**place, "iscrowd": crowd}


_SIDES = ("xmin", "ymin", "xmax", "ymax")


def _text(path: Path, thing: ElementTree.Element, name: str) -> str:
    text = (thing.findtext(name) or "").strip()
    if not text:
        raise BadInput(f"{path} has an object without {name}. Mend or remove it")
    return text


def _image(path: Path, page: ElementTree.Element) -> Path:
    """Some tools write names that are not those of the files, so a file of the XML's name goes first."""
    named = os.path.basename((page.findtext("filename") or "").replace("\\", "/"))
    folders = (path.parent, path.parent.parent / "JPEGImages", path.parent.parent / "images")
    wanted = [path.stem + suffix for suffix in sorted(SUFFIXES)] + ([named] if named else [])
    for folder in folders:
        for name in wanted:
            if (folder / name).is_file():
                return folder / name
    raise BadInput(f"{path} has no image: there is no {path.stem}.jpg beside it, in JPEGImages/ or in images/")
