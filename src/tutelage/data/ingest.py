"""From images that were found to images that can be used: examined one by one, then settled against each other."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from torch.utils.data import Dataset

from tutelage.data.batches import shared_out
from tutelage.data.decoding import THUMBNAIL_BYTES, Pixels, Unusable, dhash, examine, is_turned, thumbnail
from tutelage.data.manifest import MANIFEST, describe
from tutelage.data.near import NearIndex
from tutelage.data.reading import Reader
from tutelage.data.records import Examined, Found, Refusal, Scan

_CHUNK = 64  # images that are examined at a time, or fewer:
_CHUNK_BYTES = 4 << 20  # of large photographs one or two
_MANY = 8  # chunks from which on a process a core is worth its start
_RANK = {"test": 0, "labelled": 1, "pool": 2}  # of two copies, the one in the earlier source stays

Kind = Literal["bytes", "pixels", "near"]


@dataclass(frozen=True, slots=True)
class Leak:
    """An image that a model would be trained on and judged by."""

    id: str
    other: str  # the test image
    kind: Kind


@dataclass(slots=True)
class Settled:
    """Who stays. `dropped` are spare copies: nothing is wrong with them."""

    kept: list[Examined] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    dropped: list[Refusal] = field(default_factory=list)
    leaks: list[Leak] = field(default_factory=list)


def examine_all(scan: Scan, *, max_pixels: int, thumbnails: bool) -> Iterator[Examined | Refusal]:
    """Read, hash and decode every image of a scan, in its order; only a few are in memory at once.

    Many small ones or some large ones are shared out between processes, one a core.
    """
    ends = _ends(scan.found)
    for answers in shared_out(_Chunks(scan, ends, max_pixels, thumbnails), len(ends), many=_MANY):
        yield from answers


def _ends(found: Sequence[Found]) -> list[int]:
    """Where each chunk of images ends: the work is told by their number and bytes."""
    work = np.cumsum([1 / _CHUNK + image.length / _CHUNK_BYTES for image in found])
    return [*(np.flatnonzero(np.diff(work // 1)) + 1).tolist(), len(found)] if found else []


def settle(images: Iterable[Examined], *, leaks: Literal["drop", "refuse"], near_duplicates: int) -> Settled:
    """Keep one of each image: the test's rather than a labelled one, that rather than the pool's, then the first id.

    Copies inside one source whose labels differ are all refused. A training image that is also a test image is dropped
    (refused, where the test labels it otherwise), or kept and listed in `leaks` for the doctor. `near_duplicates`: bits
    of the dHash; 0 takes equal pixels alone.
    """
    settled = Settled()
    ranked = sorted(images, key=lambda image: (_RANK[image.found.source], image.found.id))
    unique = list(_without_copies(_without_conflicts(ranked, settled), leaks, settled))
    settled.kept = list(_without_near(unique, leaks, near_duplicates, settled)) if near_duplicates else unique
    settled.kept.sort(key=lambda image: image.found.id)
    settled.leaks.sort(key=lambda leak: leak.id)
    for refusals in (settled.refused, settled.dropped):
        refusals.sort(key=lambda refusal: (refusal.id, refusal.detail))
    return settled


def manifest(images: list[Examined], scans: list[Scan]) -> pa.Table:
    """The manifest of settled images. A folder name of the pool is a label only where it is a known class."""
    by_source = {scan.source: scan for scan in scans}
    classes = {name for scan in scans if scan.source == "labelled" for name in scan.classes}
    classes |= {image.found.label for image in images if image.found.source != "pool" and image.found.label}

    def label(image: Examined) -> str | None:
        loose = by_source[image.found.source].loose_labels
        return None if loose and image.found.label not in classes else image.found.label

    labels = [label(image) for image in images]
    columns: dict[str, Any] = {
        name: [getattr(image.found, name) for image in images] for name in ("id", "source", "path", "offset", "length")
    }
    columns |= {name: [getattr(image, name) for image in images] for name in ("sha256", "pixels", "width", "height")}
    columns["dhash"] = np.array([image.dhash for image in images], np.uint64)
    columns |= {"label": labels, "domain": [image.found.domain for image in images]}
    columns["label_source"] = ["given" if name else "" for name in labels]
    columns["tasks"] = [["classification"] if name else [] for name in labels]
    table = pa.table(columns, schema=MANIFEST)
    return describe(table, roots={scan.source: scan.root for scan in scans}, classes=sorted(classes))


@dataclass(frozen=True)
class _Chunks(Dataset[list[Examined | Refusal]]):
    """What became of the images of a scan, some at a time."""

    scan: Scan
    ends: Sequence[int]  # of each chunk, in `scan.found`
    max_pixels: int
    thumbnails: bool

    def __getitem__(self, number: int) -> list[Examined | Refusal]:
        reader, first = Reader(), self.ends[number - 1] if number else 0
        return [
            _examine(image, self.scan.root, reader, self.max_pixels, self.thumbnails)
            for image in self.scan.found[first : self.ends[number]]
        ]


def read_whole(image: Found, root: str, reader: Reader, max_pixels: int) -> tuple[bytes, Pixels]:
    """The file, or member of a tar, and its pixels as `examine` decodes them. Raises Unusable."""
    most = 8 * max_pixels + (1 << 20)  # bytes of the largest uncompressed image, 16-bit RGBA, and its header
    if image.length > most:
        raise Unusable("too_large", f"{image.length} bytes, more than ingest.max_pixels ({max_pixels}) need")
    try:
        data = reader.read(os.path.join(root, image.path), image.offset, image.length)
    except OSError as error:
        raise Unusable("unreadable", error.strerror or str(error)) from error
    if len(data) < image.length:
        raise Unusable("truncated", f"the file ends after {len(data)} of {image.length} bytes")
    return data, examine(data, max_pixels=max_pixels)


def _examine(image: Found, root: str, reader: Reader, max_pixels: int, thumbnails: bool) -> Examined | Refusal:
    try:
        data, pixels = read_whole(image, root, reader, max_pixels)
    except Unusable as error:
        return Refusal(image.id, error.reason, error.detail)
    height, width = pixels.shape[:2]
    return Examined(
        image,
        sha256=hashlib.sha256(data).hexdigest(),
        pixels=hashlib.sha256(b"%d %d " % (width, height) + pixels.tobytes()).hexdigest(),
        dhash=dhash(pixels),
        width=width,
        height=height,
        thumbnail=thumbnail(pixels) if thumbnails else b"",
        turned=is_turned(data),
    )


def _without_conflicts(ranked: list[Examined], settled: Settled) -> Iterator[Examined]:
    copies: dict[tuple[str, str], dict[str | None, Examined]] = defaultdict(dict)  # the first of each label
    for image in ranked:
        copies[image.found.source, image.pixels].setdefault(image.found.label, image)
    for image in ranked:
        firsts = copies[image.found.source, image.pixels].values()
        other = next((first for first in firsts if _conflict(first, image)), None)
        if other is None:
            yield image
        else:
            settled.refused.append(_contradicted(image, other))


def _without_copies(ranked: Iterable[Examined], leaks: str, settled: Settled) -> Iterator[Examined]:
    judged: dict[str, Examined] = {}  # test images by their pixels
    trained: dict[str, Examined] = {}  # all others
    names = set()
    for image in ranked:
        side = judged if image.found.source == "test" else trained
        if image.pixels in side:
            settled.dropped.append(_spare(image, side[image.pixels]))
        elif image.found.id in names:  # a member that a tar holds twice
            settled.dropped.append(
                Refusal(image.found.id, "duplicate", "another image has the same name; the first stays")
            )
        elif image.pixels not in judged or _leak_stays(image, judged[image.pixels], leaks, settled):
            side[image.pixels] = image
            names.add(image.found.id)
            yield image


def _without_near(ranked: list[Examined], leaks: str, bits: int, settled: Settled) -> Iterator[Examined]:
    hashes = np.array([image.dhash for image in ranked], np.uint64)
    flat = np.frombuffer(b"".join(image.thumbnail for image in ranked), np.uint8)
    index = NearIndex(hashes, flat.reshape(-1, THUMBNAIL_BYTES), bits)
    alive, contradicted = np.ones(len(ranked), bool), np.zeros(len(ranked), bool)
    for place, image in enumerate(ranked):
        near = index.earlier(place, alive)  # with those that are contradicted: they contradict further copies too
        against = [number for number in near if _conflict(image, ranked[number])]
        others = [ranked[number] for number in near if not contradicted[number]]
        spare_of = next((other for other in others if _same_side(image, other)), None)
        tests = [other for other in others if not _same_side(image, other)]
        if against:
            settled.refused.append(_contradicted(image, ranked[against[0]]))
            settled.refused += [_contradicted(ranked[number], image) for number in against if not contradicted[number]]
            contradicted[[place, *against]] = True
        elif spare_of is not None:
            settled.dropped.append(_spare(image, spare_of))
            alive[place] = False
        elif tests and all(test.pixels != image.pixels for test in tests):  # equal pixels are a leak listed already
            alive[place] = _leak_stays(image, tests[0], leaks, settled)
    yield from (ranked[place] for place in np.flatnonzero(alive & ~contradicted))


def _leak_stays(image: Examined, test: Examined, leaks: str, settled: Settled) -> bool:
    kind = _kind(image, test)
    if leaks == "refuse":
        settled.leaks.append(Leak(image.found.id, test.found.id, kind))
        return True
    if image.found.source == "labelled" and image.found.label != test.found.label:
        settled.refused.append(_contradicted(image, test))  # gone as well, but one of the two labels is wrong
        return False
    settled.dropped.append(Refusal(image.found.id, "leak", f"the test image {test.found.id} again ({kind})"))
    return False


def _same_side(image: Examined, other: Examined) -> bool:
    return (image.found.source == "test") == (other.found.source == "test")


def _conflict(image: Examined, other: Examined) -> bool:
    """Whether two copies contradict each other. What the pool's folders are called is nobody's word."""
    one, two = image.found, other.found
    return one.source == two.source != "pool" and one.label != two.label


def _contradicted(image: Examined, other: Examined) -> Refusal:
    detail = (
        f"labelled {image.found.label!r}, but its copy {other.found.id} ({_kind(image, other)}) {other.found.label!r}"
    )
    return Refusal(image.found.id, "duplicate", f"{detail}; decide for one and remove the other")


def _spare(image: Examined, other: Examined) -> Refusal:
    return Refusal(image.found.id, "duplicate", f"the same as {other.found.id} ({_kind(image, other)})")


def _kind(image: Examined, other: Examined) -> Kind:
    if image.sha256 == other.sha256:
        return "bytes"
    return "pixels" if image.pixels == other.pixels else "near"
