"""What the COCO JSON files in a user's folder name, and where their images lie."""

import os
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

from tutelage.data.folders import class_name
from tutelage.types import BadInput


class Listed(NamedTuple):
    """What a COCO JSON names."""

    files: list[str]  # of images
    objects: int
    classes: set[str]


def listed(content: dict[str, Any]) -> Listed:
    """A record that is none is refused where all are read; a pool needs neither annotations nor categories."""
    images, objects, categories = (
        part if isinstance(part := content.get(name), list) else [] for name in ("images", "annotations", "categories")
    )
    files = [str(image["file_name"]) for image in images if isinstance(image, dict) and "file_name" in image]
    names = [each.get("name") for each in categories if isinstance(each, dict)]
    return Listed(files, len(objects), {class_name(name) for name in names if isinstance(name, str)})


def folder_of(root: Path, name: str, role: str, images: Sequence[str]) -> str | None:
    """Where the images of a COCO JSON lie; None for beside it, where they are looked for anyway. Raises BadInput."""
    here = (root / name).parent
    if not images or (here / images[0]).is_file():
        return None
    there = [folder for folder in sorted(root.glob("**/")) if all((folder / image).is_file() for image in images)]
    if len(there) > 1:  # names that count from 1 are in every folder
        there = [folder for folder in there if folder.name.casefold() in name.casefold()] or there
        there = [folder for folder in there if here in folder.parents] or there
    if len(there) != 1:
        raise BadInput(
            f"{root / name} names {len(images)} image(s), such as {images[0]!r}, and "
            f"{'no folder has them all' if not there else 'several folders have them'}. Write the folder they lie in "
            f"as detection.ingest.{role}_images in params.yaml"
        )
    return there[0].relative_to(root).as_posix()


def check_one_source(root: Path, role: str, files: Mapping[str, tuple[Listed, str | None]], way_out: str) -> None:
    """Raises BadInput where JSONs, each with the folder of its images, cannot be a list in params.yaml."""
    for one, two in combinations(files, 2):
        shared = sorted(files[one][0].classes & files[two][0].classes)
        images = sorted(_paths(one, *files[one]) & _paths(two, *files[two])) if shared else []
        if images:
            raise BadInput(
                f"{root} has {one} and {two}: which are {role}? Both list {images[0]}, and both mark {shared[0]!r}, so "
                f"they are not two sets, each marked for its own classes. {way_out}"
            )
    silent = [name for name, (found, _) in files.items() if not found.classes]
    if silent:
        raise BadInput(
            f"{root} has {' and '.join(files)}: which are {role}? {silent[0]} has no category, so nobody knows what "
            f"its images were searched for. {way_out}"
        )


def _paths(name: str, found: Listed, folder: str | None) -> set[str]:
    base = os.path.dirname(name) if folder is None else folder
    return {os.path.normpath(os.path.join(base, file)) for file in found.files}
