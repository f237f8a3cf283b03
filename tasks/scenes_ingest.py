"""Which images there are, and what objects are in them."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.box_params import ScenesIngest
from tasks.ingest import counts, examined, left_out
from tasks.io import whole, write_json
from tasks.knobs import joined, json_files
from tasks.text import bullets, table
from tutelage.data.coco import Coco, read_coco
from tutelage.data.coco_boxes import box_table, is_box, wrong_sizes
from tutelage.data.coco_join import join, union, unsearched_table
from tutelage.data.ingest import Settled, manifest, settle
from tutelage.data.manifest import MANIFEST, describe, roots_of, write_manifest
from tutelage.data.records import Examined, Refusal, Scan, SourceName
from tutelage.data.scenes import write_boxes
from tutelage.data.sources import check, check_apart, scan
from tutelage.types import BadInput

SHOWN = 50  # sentences of each list in report.md; report.json has all


def scenes_ingest(root: Path, *, params: Any, out: Path) -> Path:
    """COCO JSON and images -> manifest.parquet, boxes.parquet (objects, of all sources), report (what was mended,
    refused or dropped, and why)."""
    wanted: ScenesIngest = params.detection.ingest
    files, scans = _sources(root, wanted)
    check_apart(scans)
    images, refused = examined(scans, wanted.max_pixels, thumbnails=wanted.near_duplicates > 0)
    images, of_other_size, unclear = _sized(files, images)
    settled = _settled(files, images, wanted)
    boxes = _boxes(files, settled.kept, unclear)
    emptied = _emptied(files, settled, boxes, unclear)
    refused = sorted([*refused, *of_other_size, *settled.refused, *emptied], key=lambda refusal: refusal.id)
    table = _manifest(settled.kept, scans, files, unclear)
    report = _report(settled, refused, scans, files, boxes) | {"near_duplicates": wanted.near_duplicates}
    with whole(out) as folder:
        write_manifest(folder, table)
        write_boxes(folder, "boxes.parquet", pa.concat_tables([boxes, *_unsearched(files, settled.kept)]))
        write_json(folder / "report.json", report)
        (folder / "report.md").write_text(_markdown(report))
    print(
        f"scenes_ingest: {counts(report['images'])}; {len(boxes)} objects; {len(report['repairs'])} mended; refused "
        f"{len(refused)} images and {len(report['refused_objects'])} objects; dropped {len(settled.dropped)} copies"
    )
    return out


def _sources(root: Path, wanted: ScenesIngest) -> tuple[dict[SourceName, Coco], list[Scan]]:
    """Each source's JSON, where it is one, and the images of all. Classes are those of the labelled JSONs."""
    files: dict[SourceName, Coco] = {"labelled": _read(root, "labelled", wanted, None)}
    scans = [files["labelled"].scan]
    for source in ("pool", "test"):
        name = getattr(wanted, source)
        if source == "pool" and name is not None and not name.lower().endswith(".json"):
            scans.append(scan(root, name, source))
        elif name is not None:
            files[source] = _read(root, source, wanted, files["labelled"].classes)
            scans.append(files[source].scan)
    return files, scans


def _read(root: Path, source: SourceName, wanted: ScenesIngest, known: list[str] | None) -> Coco:
    """One JSON as it is; several, and a test beside several, as one source that says what nobody looked for."""
    parts: list[Coco] = []
    for name, images in json_files(wanted, source):
        if not name.lower().endswith(".json"):
            unless = ", or null" if source == "test" else ""
            raise BadInput(f"detection.ingest.{source} is {name!r}: write the COCO JSON of the {source} images{unless}")
        check(root, name, source)
        if images is not None:
            check(root, images, f"{source}_images")
        folder = (root / name).parent if images is None else root / images
        parts.append(read_coco(root / name, folder=folder, boundary=root, source=source, classes=known))
    if not joined(wanted, source):
        return parts[0]
    return join(parts, classes=union(parts) if known is None else known, root=root)


def _sized(
    files: dict[SourceName, Coco], images: list[Examined]
) -> tuple[list[Examined], list[Refusal], dict[str, Refusal]]:
    """Images without those whose JSON says another size. The pool keeps them: only their hidden objects are unclear."""
    refused = {
        refusal.id: refusal
        for source, coco in files.items()
        for refusal in wrong_sizes(coco, (image for image in images if image.found.source == source))
    }
    unclear = {name: refusal for name, refusal in refused.items() if name.startswith("pool/")}
    kept = [image for image in images if image.found.id not in refused or image.found.id in unclear]
    return kept, [refusal for name, refusal in refused.items() if name not in unclear], unclear


def _settled(files: dict[SourceName, Coco], images: list[Examined], wanted: ScenesIngest) -> Settled:
    """Copies whose objects differ contradict each other; images that are only near to each other may differ in them."""
    objects: dict[str, set[str]] = {name: set() for coco in files.values() for name in coco.images}
    for coco in files.values():
        for given in coco.annotations:
            place = np.array(given.bbox, float).tolist() if is_box(given.bbox) else given.bbox or given.segmentation
            objects.setdefault(given.image, set()).add(f"{coco.classes[given.label]} {given.crowd} {place}")
    searched = {name: said for coco in files.values() for name, said in _searched(coco)}
    exact = settle(
        (_marked(image, objects.get(image.found.id), searched.get(image.found.id, "")) for image in images),
        leaks=wanted.leaks,
        near_duplicates=0,
    )
    bare = [replace(image, found=replace(image.found, label=None)) for image in exact.kept]
    settled = settle(bare, leaks=wanted.leaks, near_duplicates=wanted.near_duplicates)
    settled.refused += [_with_way_out(refusal, searched) for refusal in exact.refused]
    settled.dropped = sorted([*settled.dropped, *exact.dropped], key=lambda refusal: (refusal.id, refusal.detail))
    return settled


def _searched(coco: Coco) -> Iterator[tuple[str, str]]:
    """Of images that were not searched for all classes, those that they were searched for, in words."""
    for name, missing in coco.unsearched.items():
        yield name, ", ".join(one for label, one in enumerate(coco.classes) if label not in missing)


def _with_way_out(refusal: Refusal, searched: dict[str, str]) -> Refusal:
    """Copies of which each was searched for other classes are not in each other's way under one name."""
    source = refusal.id.partition("/")[0]
    if refusal.id not in searched or f"its copy {source}/" not in refusal.detail:
        return refusal
    way = "where each was marked for other classes, list the same file name in both JSONs, which makes them one image"
    return replace(refusal, detail=f"{refusal.detail}; {way}")


def _marked(image: Examined, objects: set[str] | None, searched: str) -> Examined:
    """With its objects as its label, in words and a digest; None where no JSON says what they are."""
    if objects is None:
        return image
    digest = hashlib.sha256("\n".join(sorted(objects)).encode()).hexdigest()[:8]
    alone = f", searched for {searched} alone" if searched else ""
    return replace(image, found=replace(image.found, label=f"{len(objects)} object(s), {digest}{alone}"))


def _manifest(
    images: list[Examined], scans: list[Scan], files: dict[SourceName, Coco], unclear: dict[str, Refusal]
) -> pa.Table:
    """As for classification, without labels: what is given are objects."""
    table = manifest(images, scans)
    listed = {name: image for coco in files.values() for name, image in coco.images.items()}
    ids = table["id"].to_pylist()
    silent = "pool" in files and files["pool"].silent  # which does not say that its images hold nothing
    given = [name in listed and name not in unclear and not (silent and name.startswith("pool/")) for name in ids]
    columns = {
        "label": pa.nulls(len(ids), pa.string()),
        "domain": [listed[name].domain if name in listed else "" for name in ids],
        "label_source": ["given" if known else "" for known in given],
        "tasks": [["detection"] if known else [] for known in given],
    }
    rows = {name: columns.get(name, table[name]) for name in MANIFEST.names}
    return describe(pa.table(rows, schema=MANIFEST), roots=roots_of(table), classes=files["labelled"].classes)


def _boxes(files: dict[SourceName, Coco], images: list[Examined], unclear: dict[str, Refusal]) -> pa.Table:
    for name, refusal in unclear.items():
        files["pool"].refuse(f"the objects of {name}: {refusal.detail}")
    sizes = {image.found.id: (image.width, image.height) for image in images if image.found.id not in unclear}
    tables = [box_table(files[source], sizes) for source in sorted(files)]
    return pa.concat_tables(tables)


def _unsearched(files: dict[SourceName, Coco], images: list[Examined]) -> list[pa.Table]:
    sizes = {image.found.id: (image.width, image.height) for image in images}
    return [unsearched_table(files[source], sizes) for source in sorted(files)]


def _emptied(
    files: dict[SourceName, Coco], settled: Settled, boxes: pa.Table, unclear: dict[str, Refusal]
) -> list[Refusal]:
    """Images whose objects were all refused, which is not to say that they have none. The pool keeps them."""
    doubtful = {name for coco in files.values() for name in coco.doubtful} - set(boxes["id"].to_pylist())
    detail = "all its objects were refused, so that nobody knows what is in it; mend or remove them"
    found = [Refusal(image.found.id, "unknown_label", detail) for image in settled.kept if image.found.id in doubtful]
    unclear.update((refusal.id, refusal) for refusal in found if refusal.id.startswith("pool/"))
    emptied = {refusal.id for refusal in found} - set(unclear)
    settled.kept = [image for image in settled.kept if image.found.id not in emptied]
    return [refusal for refusal in found if refusal.id in emptied]


def _report(
    settled: Settled, refused: list[Refusal], scans: list[Scan], files: dict[SourceName, Coco], boxes: pa.Table
) -> dict[str, Any]:
    images = Counter(image.found.source for image in settled.kept)
    classes = files["labelled"].classes
    objects: dict[str, dict[str, int]] = {name: dict.fromkeys(files, 0) for name in classes}
    for name, label in zip(boxes["id"].to_pylist(), boxes["label"].to_pylist(), strict=True):
        objects[classes[label]][name.partition("/")[0]] += 1
    return {
        "images": {scan.source: images[scan.source] for scan in scans},
        "objects": objects,
        "refused": [asdict(refusal) for refusal in refused],
        "dropped": [asdict(refusal) for refusal in settled.dropped],
        "leaks": [asdict(leak) for leak in settled.leaks],
        "turned": [image.found.id for image in settled.kept if image.turned],
        "repairs": [sentence for coco in files.values() for sentence in coco.repairs],
        "refused_objects": [sentence for coco in files.values() for sentence in coco.refused],
    }


def _markdown(report: dict[str, Any]) -> str:
    sources = list(report["images"])
    lines = ["# Scenes", "", f"Images that can be used: {counts(report['images'])}.", ""]
    rows = [[name, *(given.get(source, "-") for source in sources)] for name, given in report["objects"].items()]
    lines += [table(["class", *sources], rows)]
    lines += left_out(report)
    for part, title in {"repairs": "Mended", "refused_objects": "Objects refused"}.items():
        more = len(report[part]) - SHOWN
        lines += ["", f"## {title} ({len(report[part])})", ""]
        lines += bullets(report[part][:SHOWN]) or ["None."]
        lines += [f"- ... and {more} more, see report.json."] if more > 0 else []
    return "\n".join(lines) + "\n"
