"""COCO JSON as we write it: one record a line, so that a person can find one and a diff can show one."""

import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tutelage.data import masks
from tutelage.data.boxes import Found

_LISTS = ("images", "annotations", "categories")


def categories(classes: Sequence[str]) -> list[dict[str, Any]]:
    """COCO counts classes from 1."""
    return [{"id": number, "name": name} for number, name in enumerate(classes, start=1)]


def write_coco(path: Path, content: dict[str, Any]) -> None:
    """Equal contents are equal bytes."""
    path.write_text(as_text(content))


def as_text(content: dict[str, Any]) -> str:
    """What `write_coco` writes."""
    lists = [f"{json.dumps(name)}: [\n" + ",\n".join(map(_line, content[name])) for name in _LISTS]
    return "{\n" + "\n],\n".join(lists) + "\n]\n}\n"


def write_coco_found(path: Path, found: Iterable[tuple[str, tuple[int, int], Found]], classes: Sequence[str]) -> None:
    """As `write_coco`, of what a detector found: of each image its file name, its size (width, height) and its boxes.

    Images are numbered from 1. `found` is gone through once and never held: annotations wait in a file beside `path`.
    """
    waiting, number = path.with_name(path.name + ".annotations"), 0
    with path.open("w") as file, waiting.open("w+") as annotations:
        file.write('{\n"images": [\n')
        for image, (name, (width, height), boxes) in enumerate(found, start=1):
            row = {"id": image, "file_name": name, "width": width, "height": height}
            file.write(("" if image == 1 else ",\n") + _line(row))
            for box in zip(*(column.tolist() for column in boxes), strict=True):
                number += 1
                annotations.write(("" if number == 1 else ",\n") + _line(_scored(number, image, *box)))
        file.write('\n],\n"annotations": [\n')
        annotations.seek(0)
        shutil.copyfileobj(annotations, file)
        file.write('\n],\n"categories": [\n' + ",\n".join(map(_line, categories(classes))) + "\n]\n}\n")
    waiting.unlink()


def _scored(number: int, image: int, place: list[float], label: int, score: float) -> dict[str, Any]:
    """A thousandth of a pixel and a millionth of a score are enough, and half as long."""
    x1, y1, x2, y2 = place
    wide, high = round(x2 - x1, 3), round(y2 - y1, 3)
    return {
        "id": number, "image_id": image, "category_id": label + 1, "iscrowd": 0,
        "bbox": [round(x1, 3), round(y1, 3), wide, high], "area": round(wide * high, 3),
        "score": round(score, 6),
    }  # fmt: skip


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row, sort_keys=True, allow_nan=False)


def as_lines(content: dict[str, Any]) -> str:
    """Somebody's COCO JSON with all that is in it, in its order, a record a line."""
    parts = []
    for name, part in content.items():
        text = json.dumps(part, ensure_ascii=False)
        if isinstance(part, list) and part:
            text = "[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in part) + "\n]"
        parts.append(f"{json.dumps(name, ensure_ascii=False)}: {text}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def of_mask(mask: str, width: int, height: int) -> dict[str, Any]:
    """What a mask alone says of an annotation."""
    return {
        "segmentation": {"size": [height, width], "counts": mask},
        "bbox": list(masks.bounds(mask, width, height)),
        "area": masks.area(mask, width, height),
        "iscrowd": 0,
    }
