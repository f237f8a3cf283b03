"""Boxes that people have corrected, back into the labelled images."""

import hashlib
import json
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.answer_places import BESIDE, Addition, alone, copied, own_name, refused
from tasks.box_corrected import Corrected, read_corrected, sound_coco
from tasks.io import write_whole
from tasks.knobs import json_files
from tasks.params import Params
from tasks.places import OURS
from tutelage.data.coco import key_of
from tutelage.data.coco_file import as_lines
from tutelage.data.folders import class_name
from tutelage.data.sources import check
from tutelage.types import BadInput


def box_answer(folder: Path, asked: Mapping[str, Any], *, params: Params, new: Sequence[str]) -> list[str]:
    """Add the images of a corrected ask.json, and their objects, to the COCO JSON that `detection.ingest` names; what
    to tell a person. Raises BadInput with all that is wrong; then nothing was added.

    Images get new ids and are copied to asked/ in the folder that file names are relative to; categories are compared
    by name. The file has all of them or none. What the rest of it says stays.
    """
    wanted = params.detection.ingest
    root = Path(wanted.root)
    name, images = _place(root, json_files(wanted, "labelled"))
    path = root / name
    beside = path.parent if images is None else root / images
    with alone(path):
        content = sound_coco(path)
        numbers = {class_name(str(one["name"])): one["id"] for one in content["categories"]}
        read = read_corrected(folder, asked, numbers.keys() | {class_name(name) for name in new})
        there = {posixpath.basename(str(one["file_name"])) for one in content["images"]}
        fresh = []
        for image in sorted(read.sizes):
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


def _place(root: Path, files: Sequence[tuple[str, str | None]]) -> tuple[str, str | None]:
    """The JSON that answers belong to, and the folder of its images: a person looks for all classes at once.

    Raises BadInput where none of several has the categories of all.
    """
    for name, _ in files:
        check(root, name, "labelled")
    if len(files) == 1:
        return files[0]
    classes = [{class_name(str(one["name"])) for one in sound_coco(root / name)["categories"]} for name, _ in files]
    every = set[str]().union(*classes)
    whole = [file for file, own in zip(files, classes, strict=True) if own == every]
    if not whole:
        raise BadInput(
            f"answers are of all classes ({', '.join(sorted(every))}), and no file of detection.ingest.labelled is. "
            "Add one to the list whose categories are all of them, with `images` and `annotations` []"
        )
    return whole[0]


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
        width, height = read.sizes[image]
        own = {"id": place, "file_name": f"{BESIDE}/{one.name}", "width": width, "height": height}
        content["images"].append(own)
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
    before = len(read.sizes) - len(fresh)
    yield f"{before} were there already" + (", and their objects stay as they are there" if before else "")
    if same := [one.name for image, one in fresh if image in read.untouched and read.objects[image]]:
        yield (
            f"{len(same)} of them have the detector's boxes as they were, the first is {same[0]}. If nobody has looked "
            f"at them, take them out of {path} again: a model learns its own mistakes from them"
        )
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
