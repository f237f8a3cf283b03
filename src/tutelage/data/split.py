"""Who may see which label, drawn by rank of hashes: neither the order of images nor their number moves anyone else."""

import hashlib
import math
from collections import defaultdict
from dataclasses import dataclass

import pyarrow as pa

from tutelage.data.manifest import SPLIT, TRUTH, classes_of, describe, roots_of

ROLES = ("labelled", "holdout", "pool", "test")


@dataclass(frozen=True, slots=True)
class _Image:
    id: str
    sha256: str  # of the encoded bytes
    pixels: str  # of the decoded ones: a copy in another format has the same


def draw(
    manifest: pa.Table, *, seed: int, labels_per_class: int | None, holdout: float, test_fraction: float
) -> tuple[pa.Table, pa.Table]:
    """The split of a manifest, and the hidden labels of its pool.

    A class's `labels_per_class` images of lowest rank keep their label; `holdout` of them (rounded, a half down, one
    always left to train on) are not trained on; the rest joins the pool. Without a test source, images whose hash of
    pixels falls below `test_fraction` are the test: whatever arrives later, copies of them in another format included,
    these never become training images. Only where all
    hashes of a class lie on one side, as those of a few images may, one image changes sides so that neither is empty,
    and may go back.
    Images whose objects are annotated have no label: they are drawn from as one class.
    """
    classes = classes_of(manifest)
    columns = {name: manifest[name].to_pylist() for name in ("id", "source", "sha256", "pixels", "label")}
    roles = {name: source for name, source in zip(columns["id"], columns["source"], strict=True)}
    by_class: dict[str | None, list[_Image]] = defaultdict(list)
    for name, source, digest, pixels, label in zip(*columns.values(), strict=True):
        if source == "labelled":
            by_class[label].append(_Image(name, digest, pixels))
    for images in by_class.values():
        test = [] if "test" in roots_of(manifest) else _test(images, seed, test_fraction)
        roles.update((image.id, "test") for image in test)
        roles.update(
            _labelled([image for image in images if roles[image.id] != "test"], seed, labels_per_class, holdout)
        )
    return _tables(manifest, [roles[name] for name in columns["id"]], {name: n for n, name in enumerate(classes)})


def _test(images: list[_Image], seed: int, fraction: float) -> list[_Image]:
    """At least one and not all, where there are two."""
    ranked = _ranked(images, seed, "test")
    below = sum(_share(image, seed) < fraction for image in images)
    return ranked[: max(min(below, len(images) - 1), min(1, len(images) - 1))]


def _labelled(images: list[_Image], seed: int, budget: int | None, holdout: float) -> dict[str, str]:
    ranked = _ranked(images, seed, "label")
    chosen, rest = ranked[:budget], ranked[len(ranked[:budget]) :]
    kept_out = max(0, min(len(chosen) - 1, math.ceil(len(chosen) * holdout - 0.5)))
    apart = _ranked(chosen, seed, "holdout")
    return (
        {image.id: "pool" for image in rest}
        | {image.id: "holdout" for image in apart[:kept_out]}
        | {image.id: "labelled" for image in apart[kept_out:]}
    )


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


def _ranked(images: list[_Image], seed: int, use: str) -> list[_Image]:
    return sorted(images, key=lambda image: (_digest(image, seed, use), image.id))


def _share(image: _Image, seed: int) -> float:
    """A number in [0, 1) that belongs to the image's pixels."""
    return int(_digest(image, seed, "test")[:13], 16) / 16**13


def _digest(image: _Image, seed: int, use: str) -> str:
    """The test is drawn by pixels, since of copies that arrive later another one may be kept."""
    content = image.pixels if use == "test" else image.sha256
    return hashlib.sha256(f"{seed} {use} {content}".encode()).hexdigest()
