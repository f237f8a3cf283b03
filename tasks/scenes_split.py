"""Who may see which objects, and whether the data can be trained on."""

from collections import Counter
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.box_params import ScenesSplit
from tasks.io import read_json, whole, write_json
from tasks.text import bullets, first_few
from tasks.text import table as text_table
from tutelage.data import groups
from tutelage.data.decoding import letterbox_factor
from tutelage.data.manifest import classes_of, read_manifest, write_split
from tutelage.data.near import leaking, unlooked
from tutelage.data.scenes import read_boxes, unsearched_rows, write_boxes, write_known
from tutelage.data.split import ROLES, draw
from tutelage.types import BadInput

SHOWN = 10  # names in a sentence
FEW = 20  # boxes of a class, fewer of which get a note
TINY = 2.0  # pixels at the network's size, below which a side can hardly be seen
UNFILLED = "Set detection.ingest.pool, or lower detection.split.images"  # what to do about an empty pool
Roles = dict[str, dict[str, int]]  # class -> role -> objects that are no crowd


def scenes_split(ingested: Path, *, params: Any, out: Path, calibrated: bool = True) -> Path:
    """Manifest, boxes -> split.parquet (image, role), boxes.parquet (objects that may be seen), truth.parquet and
    known.parquet (objects of the pool that are hidden, and the images where they are known), report.

    Roles follow from the seed and each image's bytes, of the test its pixels. Where nothing is `calibrated`, no
    hold-out is missed, and a pool is; where a precision is to be promised of the pool's boxes, there must be a
    hold-out.
    Data that cannot be trained on is refused, with the way out.
    """
    wanted: ScenesSplit = params.detection.split
    manifest, boxes, told = read_manifest(ingested), read_boxes(ingested), read_json(ingested / "report.json")
    table, _ = draw(
        manifest, seed=params.seed, labels_per_class=wanted.images, holdout=wanted.holdout,
        test_fraction=wanted.test_fraction, groups=wanted.groups, kinds=_kinds(manifest, boxes),
    )  # fmt: skip
    roles = dict(zip(table["id"].to_pylist(), table["role"].to_pylist(), strict=True))
    counts = _count(classes_of(table), boxes, roles)
    promised = calibrated and params.detection.calibrate.rule == "precision"
    torn, grouped = groups.examined(table, wanted.groups, "detection.split.groups")
    problems = [
        *leaking(told["leaks"], "detection.ingest.leaks"),
        *_images(roles, promised=promised, pooled=not calibrated),
        *_classes(counts),
        *torn,
        *(
            groups.unsliced(_tested(table), params.detection.judge.slices, "detection.judge.slices")
            if calibrated
            else ()
        ),
    ]
    if calibrated and counts and "test" in roles.values() and not any(each["test"] for each in counts.values()):
        problems.append("No test image shows an object, so no detector could be measured. Check detection.ingest.test")
    if problems:
        shown = "\n".join(f"  {line}" for line in [*problems, *(f"note: {note}" for note in _told(told))])
        raise BadInput(f"{len(problems)} problem(s) with the data ({ingested}/report.json lists all files):\n{shown}")
    network, nowhere = params.detection.network, unsearched_rows(boxes, table)
    marked = boxes.filter(pa.array(~nowhere))
    notes = [
        *_idle(roles, counts, calibrated, joined=bool(nowhere.any())),
        *_empty(table, marked),
        *_single(marked, roles, wanted.groups),
        *_tiny(table, marked, network.image_size),
        *_many(marked, roles, network.max_detections),
        *_apart(table, boxes),
        *_unsearched(classes_of(table), boxes.filter(pa.array(nowhere)), roles),
        *_turned(told["turned"]),
        *_told(told),
        *(unlooked(table, told["near_duplicates"], "detection.ingest.near_duplicates") if calibrated else ()),
        *grouped,
    ]
    images = Counter(roles.values())
    report = {"problems": [], "notes": notes, "images": {role: images[role] for role in ROLES}, "classes": counts}
    with whole(out) as folder:
        _write(folder, manifest, table, boxes)
        write_json(folder / "report.json", report)
        (folder / "report.md").write_text(_markdown(report))
    print("scenes_split: " + ", ".join(f"{images[role]} {role}" for role in ROLES))
    print("".join(f"  note: {note}\n" for note in notes), end="")
    return out


def _tested(table: pa.Table) -> list[str]:
    names: list[str] = table.filter(pc.equal(table["role"], "test"))["id"].to_pylist()
    return names


def _kinds(manifest: pa.Table, boxes: pa.Table) -> dict[str, str]:
    """Of images in which nobody looked for some class, for which."""
    nowhere = boxes.filter(pa.array(unsearched_rows(boxes, manifest)))
    missed: dict[str, set[int]] = {}
    for name, label in zip(nowhere["id"].to_pylist(), nowhere["label"].to_pylist(), strict=True):
        missed.setdefault(name, set()).add(label)
    return {name: ",".join(map(str, sorted(labels))) for name, labels in missed.items()}


def _write(folder: Path, manifest: pa.Table, table: pa.Table, boxes: pa.Table) -> None:
    write_split(folder, table)
    hidden = pc.equal(table["role"], "pool")
    of_pool = pc.is_in(boxes["id"], value_set=table["id"].filter(hidden).combine_chunks())
    write_boxes(folder, "boxes.parquet", boxes.filter(pc.invert(of_pool)))
    write_boxes(folder, "truth.parquet", boxes.filter(of_pool))
    write_known(folder, table["id"].filter(pc.and_(hidden, pc.equal(manifest["label_source"], "given"))).to_pylist())


def _count(classes: list[str], boxes: pa.Table, roles: dict[str, str]) -> Roles:
    """Objects of the pool are not counted: nobody is to know them."""
    counts: Roles = {name: {"labelled": 0, "holdout": 0, "test": 0} for name in classes}
    for name, label, crowd in zip(*(boxes[column].to_pylist() for column in ("id", "label", "crowd")), strict=True):
        if roles[name] != "pool" and not crowd:
            counts[classes[label]][roles[name]] += 1
    return counts


def _images(roles: dict[str, str], *, promised: bool, pooled: bool) -> Iterator[str]:
    images = Counter(roles.values())
    if not images["labelled"]:
        yield "There is no labelled image that can be used. Check detection.ingest.labelled"
    if not images["test"]:
        yield (
            "There is no test image, so no detector could be judged. Set detection.ingest.test, or add labelled "
            "images: the only one, or the only group, is not set aside"
        )
    if pooled and not images["pool"]:
        yield f"The pool is empty, so no student could learn from it. {UNFILLED}"
    if promised and not images["holdout"]:
        yield (
            "There is no hold-out image, on which detection.calibrate.rule: precision is proven. Raise "
            "detection.split.holdout or .images, or write rule: count"
        )


def _classes(counts: Roles) -> Iterator[str]:
    missing = [name for name, roles in counts.items() if not roles["labelled"]]
    for name in missing[:SHOWN]:
        elsewhere = {role: number for role, number in counts[name].items() if number}
        if elsewhere:
            seen = ", ".join(f"{number} in {role}" for role, number in elsewhere.items())
            yield (
                f"Class {name!r} has no object to train on ({seen}). Raise detection.split.images, lower "
                "detection.split.holdout, label some in other images, or take another seed"
            )
        else:
            yield (
                f"Class {name!r} has no object in any labelled image. Label some, or remove the category and what is "
                "of it from the JSON files"
            )
    if len(missing) > SHOWN:
        yield f"{len(missing) - SHOWN} more classes have no object to train on: {first_few(missing[SHOWN:], SHOWN)}"


def _idle(roles: dict[str, str], counts: Roles, calibrated: bool, *, joined: bool) -> Iterator[str]:
    images = Counter(roles.values())
    if not images["pool"] and not joined:
        yield f"The pool is empty: training goes on with labels alone. {UNFILLED}"
    if not images["holdout"] and calibrated:
        yield (
            "The hold-out is empty: boxes of the pool can be counted (detection.calibrate.rule: count), but no "
            "precision promised. detection.split.holdout sets labelled images aside"
        )
    few = [f"{name} ({number['labelled']})" for name, number in counts.items() if number["labelled"] < FEW]
    if few:
        yield f"Classes with fewer than {FEW} objects to train on: {first_few(few, SHOWN)}"
    for role, what in (("holdout", "calibrated by itself"), ("test", "judged")):
        without = [name for name, number in counts.items() if not number[role]]
        if without and images[role]:
            yield f"No object in {role} images, so that it cannot be {what}: {first_few(without, SHOWN)}"


def _empty(table: pa.Table, boxes: pa.Table) -> Iterator[str]:
    full = pc.is_in(table["id"], value_set=boxes["id"].combine_chunks())
    bare = Counter(table["role"].filter(pc.invert(full)).to_pylist())
    shown = ", ".join(f"{bare[role]} {role}" for role in ROLES if role != "pool" and bare[role])
    if shown:
        yield f"Images without any object, which are kept as such: {shown}"
    crowds = int(np.count_nonzero(boxes["crowd"].to_numpy()))
    if crowds:
        yield f"{crowds} objects are crowds: neither trained on nor counted as missed"


def _single(boxes: pa.Table, roles: dict[str, str], pattern: str | None) -> Iterator[str]:
    columns = zip(boxes["id"].to_pylist(), boxes["crowd"].to_pylist(), strict=True)
    units = {groups.unit_of(name, pattern) for name, crowd in columns if roles[name] == "test" and not crowd}
    if len(units) == 1:
        yield (
            f"All objects of the test are in one unit ({units.pop()}): what two detectors differ by there says nothing "
            "of other images. Test on more images that show objects"
        )


def _apart(table: pa.Table, boxes: pa.Table) -> Iterator[str]:
    """Domains without a class in common: sets that were marked for one thing each look so when they are joined."""
    given = table.filter(pc.and_(pc.not_equal(table["role"], "pool"), pc.not_equal(table["domain"], "")))
    domains = dict(zip(given["id"].to_pylist(), given["domain"].to_pylist(), strict=True))
    labels: dict[str, set[int]] = {}
    for name, label in zip(boxes["id"].to_pylist(), boxes["label"].to_pylist(), strict=True):
        if name in domains:
            labels.setdefault(domains[name], set()).add(label)
    apart = [pair for pair in combinations(sorted(labels), 2) if labels[pair[0]].isdisjoint(labels[pair[1]])]
    if apart:
        yield (
            f"Images of the domains {' and '.join(apart[0])} show no class in common. What nobody looked for is taught "
            "as background: where that is so, give each set its own JSON in detection.ingest.labelled, a list, or draw "
            "a crowd (iscrowd: 1) of the class over the whole image"
        )


def _unsearched(classes: list[str], nowhere: pa.Table, roles: dict[str, str]) -> Iterator[str]:
    """Of how many images that people marked nobody looked for a class in."""
    images = Counter(roles.values())
    for role in ("labelled", "holdout", "test"):
        missed = Counter(
            classes[label]
            for name, label in zip(nowhere["id"].to_pylist(), nowhere["label"].to_pylist(), strict=True)
            if roles[name] == role
        )
        if missed:
            shown = first_few([f"{name} in {number}" for name, number in sorted(missed.items())], SHOWN)
            joins = "; they join the pool, where a teacher's boxes of it count" if role == "labelled" else ""
            yield (
                f"Of {images[role]} {role} images nobody looked for {shown}: there nothing is background to the class, "
                f"and what is found of it is neither right nor wrong{joins}"
            )


def _tiny(table: pa.Table, boxes: pa.Table, size: int) -> Iterator[str]:
    """Objects that the network will hardly see. Those of the pool are nobody's to know."""
    factors = {
        row["id"]: letterbox_factor(row["width"], row["height"], size)
        for row in table.select(["id", "width", "height", "role"]).to_pylist()
        if row["role"] != "pool"
    }
    x1, y1, x2, y2 = (boxes[side].to_numpy() for side in ("x1", "y1", "x2", "y2"))
    factor = np.array([factors.get(name, np.inf) for name in boxes["id"].to_pylist()], np.float64)
    tiny = np.minimum(x2 - x1, y2 - y1) * factor < TINY
    if tiny.any():
        first = boxes["id"][int(tiny.argmax())].as_py()
        yield (
            f"{int(tiny.sum())} objects have a side below {TINY:g} pixels at {size} x {size}, such as in {first}. "
            "Raise detection.network.image_size if they matter"
        )


def _many(boxes: pa.Table, roles: dict[str, str], most: int) -> Iterator[str]:
    columns = zip(boxes["id"].to_pylist(), boxes["crowd"].to_pylist(), strict=True)
    counts = Counter(name for name, crowd in columns if roles[name] != "pool" and not crowd)
    many = [(name, number) for name, number in counts.items() if number > most]
    if many:
        yield (
            f"{len(many)} images show more objects than a detector answers (detection.network.max_detections is "
            f"{most}), such as {many[0][0]} with {many[0][1]}: it cannot find them all. Raise it, and "
            "detection.evaluate.max_detections with it"
        )


def _told(told: dict[str, Any]) -> Iterator[str]:
    for part, what in (("refused", "images were refused"), ("refused_objects", "objects were refused"),
                       ("repairs", "records were mended"), ("dropped", "copies of images were dropped")):  # fmt: skip
        if told[part]:
            first = told[part][0]
            shown = first if isinstance(first, str) else f"{first['id']}: {first['detail']}"
            yield f"{len(told[part])} {what}, such as {shown}"


def _turned(turned: list[str]) -> Iterator[str]:
    if turned:
        yield (
            f"{len(turned)} images are stored turned or mirrored (EXIF), such as {turned[0]}: they are seen upright, "
            "and boxes are taken to be of what is seen. If yours were drawn on the stored pixels, save the images "
            "without EXIF orientation"
        )


def _markdown(report: dict[str, Any]) -> str:
    images = ", ".join(f"{number} {role}" for role, number in report["images"].items())
    rows = [(name, roles["labelled"], roles["holdout"], roles["test"]) for name, roles in report["classes"].items()]
    lines = ["# Scenes", "", f"No problem. Images: {images}.", "", *bullets(report["notes"])]
    lines += ["", "Objects:", "", text_table(("class", "labelled", "hold-out", "test"), rows)]
    return "\n".join(lines) + "\n"
