"""Who may see which label, drawn by rank of hashes: neither the order of images nor their number moves anyone else."""

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from tutelage.data.groups import unit_of
from tutelage.data.manifest import SPLIT, TRUTH, classes_of, describe, roots_of

ROLES = ("labelled", "holdout", "pool", "test")


@dataclass(frozen=True, slots=True)
class _Image:
    id: str
    sha256: str  # of the encoded bytes
    pixels: str  # of the decoded ones: a copy in another format has the same
    unit: str  # what goes to one side as a whole: a group, or the image alone


def draw(
    manifest: pa.Table,
    *,
    seed: int,
    labels_per_class: int | None,
    holdout: float,
    test_fraction: float,
    groups: str | None = None,
    kinds: Mapping[str, str] | None = None,
) -> tuple[pa.Table, pa.Table]:
    """The split of a manifest, and the hidden labels of its pool.

    A class's `labels_per_class` images of lowest rank keep their label; `holdout` of them (rounded, a half down, one
    always left to train on) are not trained on; the rest joins the pool. Without a test source, images whose hash of
    pixels falls below `test_fraction` are the test: whatever arrives later, copies of them in another format included,
    these never become training images. Only where all
    hashes of a class lie on one side, as those of a few images may, one image changes sides so that neither is empty,
    and may go back.
    Images of a group (see `groups.group_of`) are the test's together, by the hash of its name, and held out together,
    so that shares are met by whole groups. A class that lies in one group stays on one side.
    Images whose objects are annotated have no label: they are drawn from as one class, or where `kinds` (by id) tells
    them apart, such as by what they were searched for, as one class a kind, which share `labels_per_class` by their
    sizes, one for each if there are so many.
    """
    classes = classes_of(manifest)
    columns = {name: manifest[name].to_pylist() for name in ("id", "source", "sha256", "pixels", "label")}
    roles = {name: source for name, source in zip(columns["id"], columns["source"], strict=True)}
    by_class: dict[str | None, list[_Image]] = defaultdict(list)
    for name, source, digest, pixels, label in zip(*columns.values(), strict=True):
        if source == "labelled":
            by_class[(kinds or {}).get(name, label)].append(_Image(name, digest, pixels, unit_of(name, groups)))
    tested = set() if "test" in roots_of(manifest) else _test(by_class, seed, test_fraction)
    roles.update((image.id, "test") for images in by_class.values() for image in images if image.unit in tested)
    rest = {label: [image for image in images if image.unit not in tested] for label, images in by_class.items()}
    budgets = dict.fromkeys(rest, labels_per_class)
    if kinds and labels_per_class is not None:
        budgets = dict(_shared({label: len(images) for label, images in rest.items()}, labels_per_class))
    roles.update(_labelled(rest, seed, budgets, holdout))
    return _tables(manifest, [roles[name] for name in columns["id"]], {name: n for n, name in enumerate(classes)})


class _Apart:
    """Takes units away from classes, but for the last one of any."""

    def __init__(self, by_class: Mapping[str | None, list[_Image]], seed: int, use: str):
        self.sizes: dict[str | None, Counter[str]] = {}  # images of each unit, the lowest rank first
        self.having: dict[str, list[str | None]] = defaultdict(list)
        for label in sorted(by_class, key=str):
            ranked = sorted(by_class[label], key=lambda image: _rank(image, seed, use))
            self.sizes[label] = Counter(image.unit for image in ranked)
            for unit in self.sizes[label]:
                self.having[unit].append(label)
        self.left = {label: len(units) for label, units in self.sizes.items()}
        self.taken: set[str] = set()

    def take(self, unit: str) -> bool:
        if unit not in self.taken:
            if any(self.left[label] == 1 for label in self.having[unit]):
                return False
            for label in self.having[unit]:
                self.left[label] -= 1
            self.taken.add(unit)
        return True


def _test(by_class: Mapping[str | None, list[_Image]], seed: int, fraction: float) -> set[str]:
    """At least one unit of a class and not all, where there are two."""
    apart = _Apart(by_class, seed, "test")
    below = {image.unit for images in by_class.values() for image in images if _share(image, seed) < fraction}
    for unit in apart.having:
        if unit in below:
            apart.take(unit)
    for units in apart.sizes.values():
        if not apart.taken & units.keys():
            any(apart.take(unit) for unit in units)  # the first that may go
    return apart.taken


def _labelled(
    by_class: Mapping[str | None, list[_Image]], seed: int, budgets: Mapping[str | None, int | None], holdout: float
) -> dict[str, str]:
    roles = {image.id: "pool" for images in by_class.values() for image in images}
    chosen = {
        label: sorted(images, key=lambda image: _rank(image, seed, "label"))[: budgets[label]]
        for label, images in by_class.items()
    }
    apart = _Apart(chosen, seed, "holdout")
    for label, sizes in apart.sizes.items():
        missing = math.ceil(len(chosen[label]) * holdout - 0.5)
        missing -= sum(sizes[unit] for unit in apart.taken & sizes.keys())
        for unit in sizes:
            if missing > 0 and unit not in apart.taken and apart.take(unit):
                missing -= sizes[unit]
    for images in chosen.values():
        roles.update((image.id, "holdout" if image.unit in apart.taken else "labelled") for image in images)
    return roles


def _shared(sizes: Mapping[str | None, int], budget: int) -> Counter[str | None]:
    """`budget` by sizes, one after the other to who has fewest for its size (Sainte-Lague, after one for each)."""
    shares: Counter[str | None] = Counter()
    for _ in range(min(budget, sum(sizes.values()))):
        left = [kind for kind in sorted(sizes, key=str) if shares[kind] < sizes[kind]]
        shares[max(left, key=lambda kind: (not shares[kind], sizes[kind] / (2 * shares[kind] + 1)))] += 1
    return shares


def _tables(manifest: pa.Table, roles: list[str], numbers: dict[str, int]) -> tuple[pa.Table, pa.Table]:
    known = [numbers.get(label) for label in manifest["label"].to_pylist()]
    seen = [None if role == "pool" else label for role, label in zip(roles, known, strict=True)]
    columns = {name: manifest[name] for name in SPLIT.names if name not in ("role", "label")}
    table = pa.table(columns | {"role": roles, "label": pa.array(seen, pa.int32())}).select(SPLIT.names).cast(SPLIT)
    hidden = [
        (name, label)
        for name, role, label in zip(manifest["id"].to_pylist(), roles, known, strict=True)
        if role == "pool" and label is not None
    ]
    names, labels = [name for name, _ in hidden], [label for _, label in hidden]
    truth = pa.table({"id": pa.array(names, pa.string()), "label": pa.array(labels, pa.int32())}, schema=TRUTH)
    return describe(table, roots=roots_of(manifest), classes=list(numbers)), truth


def _rank(image: _Image, seed: int, use: str) -> tuple[str, str]:
    return _digest(image, seed, use), image.id


def _share(image: _Image, seed: int) -> float:
    """A number in [0, 1) that belongs to the image's pixels, or to its group."""
    return int(_digest(image, seed, "test")[:13], 16) / 16**13


def _digest(image: _Image, seed: int, use: str) -> str:
    """The test is drawn by pixels, since of copies that arrive later another one may be kept."""
    content = image.pixels if use == "test" else image.sha256
    if use != "label" and image.unit.startswith("group "):
        content = image.unit
    return hashlib.sha256(f"{seed} {use} {content}".encode()).hexdigest()
