"""What a teacher said of the pool: Parquet shards, written one by one so that labelling can be killed and continued."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Bool, Float, Int

from tutelage.types import BadInput

FOREIGN = "out_of_distribution"  # the reason of images that are of none of the classes: a student does not see them
BEYOND = "beyond_quota"  # the reason of labels that would be kept, were there not so many surer ones of their class

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("task", pa.string()),
        ("label", pa.int32()),
        ("classes", pa.list_(pa.int32())),
        ("probabilities", pa.list_(pa.float32())),
        ("score", pa.float32()),
        ("calibrated", pa.float32()),
        ("distance", pa.float32()),
        ("weight", pa.float32()),
        ("kept", pa.bool_()),
        ("reason", pa.string()),
        ("teacher", pa.string()),
        ("round", pa.int32()),
        ("view", pa.string()),
    ]
)


@dataclass(frozen=True)
class PseudoLabels:
    """Top-k soft labels of `n` pool images. `number` is of all classes."""

    classes: Int[np.ndarray, "n k"]
    probabilities: Float[np.ndarray, "n k"]
    weight: Float[np.ndarray, " n"]  # 0: rejected
    number: int

    @classmethod
    def none(cls, length: int, number: int) -> "PseudoLabels":
        """A pool that nobody labelled yet."""
        return cls(
            np.zeros((length, 1), np.int64), np.zeros((length, 1), np.float32), np.zeros(length, np.float32), number
        )

    def take(self, places: Int[np.ndarray, " m"]) -> "PseudoLabels":
        """Those of some of the images."""
        return PseudoLabels(self.classes[places], self.probabilities[places], self.weight[places], self.number)

    def dense(self, places: Int[np.ndarray, " u"]) -> tuple[Float[np.ndarray, "u c"], Float[np.ndarray, " u"]]:
        """Distributions over all classes, the top k scaled to sum to one, and weights. Rejected rows are zeros."""
        target = np.zeros((len(places), self.number), np.float32)
        weight = self.weight[places]
        share = self.probabilities[places] * (weight > 0)[:, None]
        share = share / np.maximum(share.sum(1, keepdims=True), 1e-12)
        np.put_along_axis(target, self.classes[places], share.astype(np.float32), axis=1)
        return target, weight.astype(np.float32)


def write_shards(folder: Path, shards: Iterable[tuple[int, pa.Table]], schema: pa.Schema = SCHEMA) -> Iterator[int]:
    """Write numbered shards, each under a temporary name and then renamed; yields the rows of each."""
    for number, table in shards:
        path = folder / shard_name(number)
        part = path.with_suffix(".part")
        pq.write_table(table.cast(schema), part, compression="zstd")
        with part.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
        yield table.num_rows


def shard_name(number: int) -> str:
    return f"shard-{number:05d}.parquet"


def write_manifest(folder: Path, classes: list[str], *, teacher: str, number: int) -> None:
    """Counts and hashes of the shards in `folder`: what makes them a store."""
    kept, foreign = 0, 0
    per_class = {name: {"predicted": 0, "kept": 0} for name in classes}
    shards = Shards(folder, ["label", "kept", "reason"])
    for table in shards:
        label, keep = table["label"].to_numpy(), table["kept"].to_numpy()
        foreign += pc.sum(pc.equal(table["reason"], FOREIGN)).as_py() or 0
        for place, name in enumerate(classes):
            per_class[name]["predicted"] += int((label == place).sum())
            per_class[name]["kept"] += int((keep & (label == place)).sum())
        kept += int(keep.sum())
    shards.seal({"kept": kept, "per_class": per_class, FOREIGN: foreign}, teacher=teacher, number=number)


class Shards:
    """The shards in a folder, of a store of any task, from which one goes over them to the manifest."""

    def __init__(self, folder: Path, columns: list[str]):
        self.folder, self.columns, self.seen = folder, columns, list[dict[str, Any]]()

    def __iter__(self) -> Iterator[pa.Table]:
        for path in sorted(self.folder.glob("shard-*.parquet")):
            table = pq.read_table(path, columns=self.columns)
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            self.seen.append({"file": path.name, "rows": table.num_rows, "sha256": digest})
            yield table

    def seal(self, counts: dict[str, Any], *, teacher: str, number: int) -> None:
        """Write the manifest: what was counted, beside what those shards are that were gone over."""
        images = sum(shard["rows"] for shard in self.seen)
        content = {**counts, "images": images, "shards": self.seen, "teacher": teacher, "round": number}
        (self.folder / "manifest.json").write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")


def read(folder: Path, ids: list[str], number: int) -> PseudoLabels:
    """The labels of `ids`, in their order. Raises BadInput when the store is of another pool or of other classes, or is
    not what its manifest says."""
    if not ids:
        return PseudoLabels.none(0, number)
    table = read_table(folder, ["id", "classes", "probabilities", "weight"])
    check_ids(folder, table["id"].to_pylist(), ids)
    lengths = {len(row) for row in table["classes"].to_pylist()}
    width = max(lengths, default=1)
    classes = np.array(table["classes"].combine_chunks().flatten(), np.int64).reshape(-1, width)
    check_classes(folder, classes, number)
    probabilities = np.array(table["probabilities"].combine_chunks().flatten(), np.float32).reshape(-1, width)
    weight = table["weight"].to_numpy().astype(np.float32)
    check_weights(folder, weight)
    return PseudoLabels(classes, probabilities, weight, number)


def read_known(folder: Path, ids: list[str], number: int) -> tuple[PseudoLabels, Int[np.ndarray, " m"]]:
    """What `read` gives of the images that are not out of distribution, and their places among `ids`."""
    labels = read(folder, ids, number)
    places = np.flatnonzero(~foreign(read_table(folder, ["reason"]))) if ids else np.zeros(0, np.int64)
    return labels.take(places), places


def foreign(table: pa.Table) -> Bool[np.ndarray, " n"]:
    """Which rows of a store (reason) are of none of the classes."""
    return _because(table, FOREIGN)


def beyond(table: pa.Table) -> Bool[np.ndarray, " n"]:
    """Which rows of a store (reason) are beyond the quota of their class."""
    return _because(table, BEYOND)


def _because(table: pa.Table, reason: str) -> Bool[np.ndarray, " n"]:
    return np.asarray(pc.equal(table["reason"], reason).to_numpy(zero_copy_only=False), bool)


def read_table(folder: Path, columns: list[str]) -> pa.Table:
    """All shards as one table, in order. Raises BadInput where they are not what the manifest says."""
    tables = list(read_shards(folder, columns))
    return pa.concat_tables(tables) if tables else SCHEMA.empty_table().select(columns)


def read_shards(folder: Path, columns: list[str]) -> Iterator[pa.Table]:
    """The shards of a store of any task, one by one, in order; each is compared with the manifest before it is opened.

    Raises BadInput where one is missing, foreign, cut or edited.
    """
    listed = {row["file"]: row["sha256"] for row in store_of(folder)["shards"]}
    paths = {path.name: path for path in folder.glob("shard-*.parquet")}
    for name in sorted(listed.keys() | paths.keys()):
        if name not in paths:
            raise _unlike(folder, f"{name} is missing, and its manifest.json lists it")
        if name not in listed:
            raise _unlike(folder, f"{name} is not in its manifest.json")
        with paths[name].open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != listed[name]:
            raise _unlike(folder, f"{name} has other bytes than its manifest.json says: cut, edited or of another run")
        yield pq.read_table(paths[name], columns=columns)  # equal bytes have as many rows as when they were written


def store_of(folder: Path) -> dict[str, Any]:
    """The manifest of a store of any task. Raises BadInput where there is none that can be read."""
    try:
        said = json.loads((folder / "manifest.json").read_text())
    except (OSError, ValueError) as error:
        raise _unlike(folder, f"its manifest.json cannot be read ({error})") from error
    if not isinstance(said, dict) or not {"shards", "teacher"} <= said.keys():
        raise _unlike(folder, "its manifest.json lacks the shards or the teacher")
    return said


def check_ids(folder: Path, found: list[str], ids: list[str]) -> None:
    """Raises BadInput where a store is not of the images `ids`, in their order."""
    if found != ids:
        raise BadInput(f"{folder} labels another pool than the split holds. Run `dvc repro` to label it again")


def check_classes(folder: Path, labels: Int[np.ndarray, "..."], number: int | None = None) -> None:
    """Raises BadInput where a store has other classes than `number`, or labels beyond those of its manifest."""
    known = len(store_of(folder).get("per_class", ()))
    if number is not None and known != number:
        raise _unlike(folder, f"it has {known} classes, and {number} are needed here")
    if labels.size and not 0 <= labels.min() <= labels.max() < known:
        raise _unlike(
            folder, f"it has labels from {labels.min()} to {labels.max()}, where {known} classes have 0 to {known - 1}"
        )


def check_weights(folder: Path, *weights: Float[np.ndarray, " _"]) -> None:
    """Raises BadInput where a store trusts what it says less than not at all: a student would learn the opposite."""
    for found in weights:
        if found.size and not found.min() >= 0:  # nan too
            raise _unlike(folder, f"it has a weight of {found.min():g}, and trust is 0 or more")


def _unlike(folder: Path, what: str) -> BadInput:
    return BadInput(
        f"{folder} is no whole store of pseudo-labels: {what}. Delete it and run `dvc repro` to label again"
    )
