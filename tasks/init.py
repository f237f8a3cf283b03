"""From a folder of your own images to params.yaml."""

import io
import json
import os
from collections.abc import Iterator, Mapping
from functools import partial, reduce
from pathlib import Path
from statistics import median
from textwrap import shorten
from typing import Any

from tasks.graph import check_root, check_written
from tasks.io import write_whole
from tasks.knobs import parse_folder
from tasks.params import Params, load
from tasks.places import NAMES, Places, find
from tasks.text import first_few
from tasks.written import read, rewrite
from tutelage.data.foreign import images_of, size_of
from tutelage.data.reading import Reader
from tutelage.data.records import Found, Scan, SourceName
from tutelage.data.sources import scan
from tutelage.types import BadInput

LOOKED_AT = 50  # images whose size is read
LONGEST = 150  # letters of a value that is shown
SHOWN = 5  # classes of a JSON that are shown
DEMO = 28  # pixels of the demo's images
DOWNLOADS = "The network's published weights are downloaded once; without a network write pretrained: false."
MISSING: dict[SourceName, str] = {
    "pool": "none. Put images without labels into {root}/pool: they are what a student learns from",
    "test": "none, so some of the labelled images are set aside (test_fraction)",
}


def init(root: Path, path: Path = Path("params.yaml")) -> list[str]:
    """Write what lies in `root` into params.yaml, and nothing else of it; what to tell a person, a line each.

    Boxes of YOLO and PASCAL VOC become COCO JSON files in `root`. A network that is no longer the demo's stays.
    Raises BadInput where nothing was recognised or two things may be meant; then nothing has changed.
    """
    if not root.is_dir():
        raise BadInput(f"{root} is no folder. Name the one that your images lie in")
    params = load(path)
    check_written(path.parent, params)
    check_root(path.parent, root.absolute(), "FOLDER")
    _check_name(_as_written(root))
    places = find(root)
    scans = {role: scan(root, name, role) for role, (name, *_) in places.names.items() if name not in places.listed}
    side = _side(root, scans)
    values = (_of_boxes if places.boxes else _of_classes)(root, places, params, side)
    seen = list(_seen(root, places, scans))
    before = path.read_text("utf-8")
    after = rewrite(before, values)
    write_whole(path, after.encode())
    stage = "box_report" if places.boxes else "report"
    changed = list(_changes(read(before), read(after), values))
    downloads = "" if not any("pretrained" in line for line in changed) else f" {DOWNLOADS}"
    return [
        *seen,
        f"{path}:",
        *(changed or ["  nothing to change"]),
        f"Next: python -m tasks check, then dvc repro {stage}. `steps` decide how long it takes.{downloads}",
    ]


def _of_classes(root: Path, places: Places, params: Params, side: int) -> dict[str, Any]:
    values: dict[str, Any] = {"fetch.dataset": "none", "split.labels_per_class": None, "ingest.root": _as_written(root)}
    values |= {f"ingest.{role}": places.written(role) for role in NAMES}
    net = params.network
    if side and net.name == "small_resnet" and net.image_size == DEMO:
        size = 224 if side > 160 else 128 if side > 80 else max(DEMO, side // 4 * 4)
        values["network"] = {"name": "small_resnet", "width": net.width, "image_size": size}
        if size >= 128:
            values["network"] = {"name": "resnet18", "image_size": size, "pretrained": True}
        values["views.crop_padding"] = round(params.views.crop_padding * size / DEMO)
    return values


def _of_boxes(root: Path, places: Places, params: Params, side: int) -> dict[str, Any]:
    """Names of boxes by a classifier of crops are measured on garments alone, so they are left out."""
    values: dict[str, Any] = {"detection.ingest.root": _as_written(root)}
    values |= {f"detection.ingest.{role}": places.written(role) for role in NAMES}
    for role in NAMES:
        if getattr(params.detection.ingest, f"{role}_images") != places.folders(role):
            values[f"detection.ingest.{role}_images"] = places.folders(role)
    values |= {"fetch.dataset": "none", "detection.split.images": None, "detection.names": None}
    net = params.detection.network
    if side > 96 and net.backbone == "small_resnet":
        values["detection.network"] = {
            "kind": net.kind, "backbone": "resnet18", "pretrained": True, "image_size": 320, "channels": 128,
            "head_convs": 2, "levels": [8, 16, 32, 64],
        }  # fmt: skip
    return values


def _side(root: Path, scans: Mapping[SourceName, Scan]) -> int:
    """Pixels of the shorter side, the median of some images of the folder and of its shards; 0 where there are none."""
    loose = [partial(size_of, path) for path in images_of(root)]
    packed = [partial(_size_in, each.root, image) for each in scans.values() for image in each.found if image.offset]
    images = [*loose, *packed]
    sizes = [look() for look in images[:: max(1, len(images) // LOOKED_AT)]]
    return int(median([min(size) for size in sizes if size] or [0]))


def _size_in(folder: str, image: Found) -> tuple[int, int] | None:
    """Of an image in a shard."""
    return size_of(io.BytesIO(Reader().read(os.path.join(folder, image.path), image.offset, image.length)))


def _as_written(root: Path) -> str:
    """Inside the checkout relative to it, so that a copy of the checkout finds it."""
    real = root.resolve()
    return os.path.relpath(real) if real.is_relative_to(Path.cwd()) else real.as_posix()


def _check_name(written: str) -> None:
    """Raises BadInput for what params.yaml would not take as a root."""
    try:
        parse_folder(written)
    except ValueError as error:
        raise BadInput(f"FOLDER is {written!r}: {error}") from error


def _seen(root: Path, places: Places, scans: Mapping[SourceName, Scan]) -> Iterator[str]:
    used: set[str] = set()
    for role in NAMES:
        if role not in places.names:
            yield f"{role}: {MISSING[role].format(root=root)}"
            continue
        for name in places.names[role]:
            if name in places.listed:
                folder = root / places.images[name] if name in places.images else (root / name).parent
                files, objects, _ = places.listed[name]
                said = f"{len(files)} image(s), {objects} object(s)"
            else:
                found = scans[role]
                folder, files = Path(found.root), [image.path for image in found.found]
                said = f"{len(files)} image(s)" + (f" of {len(found.labels)} class(es)" if role == "labelled" else "")
            used |= {os.path.normpath(folder / file) for file in files}
            yield f"{role}: {said} in {root / name}"
        yield from _looked_for(role, places)
    for split, files in places.spare.items():
        if files:
            yield (
                f"left out: {len(files)} labelled image(s) of {split}, neither train nor test. To learn from them, "
                "name them in train, too"
            )
        used |= {os.path.normpath(root / file) for file in files}
    rest = [path for path in images_of(root) if os.path.normpath(path) not in used]
    if rest:
        yield f"left out: {len(rest)} image(s) such as {rest[0]}; what lies in {root / 'pool'} is learned from"


def _looked_for(role: SourceName, places: Places) -> Iterator[str]:
    """What several sets are taken for, which a person may know better."""
    classes = {name: places.listed[name].classes for name in places.names[role] if name in places.listed}
    if len({frozenset(some) for some in classes.values()}) > 1:
        shown = "; ".join(f"{name}: {first_few(sorted(some), SHOWN)}" for name, some in classes.items())
        yield f"{role}: each JSON is taken to be marked for its own classes alone ({shown})"


def _changes(before: Any, after: Any, values: Mapping[str, Any]) -> Iterator[str]:
    for name in values:
        old, new = (
            reduce(lambda section, key: section.get(key), name.split("."), content) for content in (before, after)
        )
        if old != new:
            yield f"  {name}: {_shown(old)} -> {_shown(new)}"


def _shown(value: Any) -> str:
    return shorten(json.dumps(value, ensure_ascii=False), LONGEST)
