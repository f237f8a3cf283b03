"""What a teacher said of the pool: Parquet shards, written one by one so that labelling can be killed and continued."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float, Int

from tutelage.types import BadInput

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("task", pa.string()),
        ("label", pa.int32()),
        ("classes", pa.list_(pa.int32())),
        ("probabilities", pa.list_(pa.float32())),
        ("score", pa.float32()),
        ("calibrated", pa.float32()),
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
    shards, kept, images = [], 0, 0
    per_class = {name: {"predicted": 0, "kept": 0} for name in classes}
    for path in sorted(folder.glob("shard-*.parquet")):
        table = pq.read_table(path, columns=["label", "kept"])
        label, keep = table["label"].to_numpy(), table["kept"].to_numpy()
        for place, name in enumerate(classes):
            per_class[name]["predicted"] += int((label == place).sum())
            per_class[name]["kept"] += int((keep & (label == place)).sum())
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        shards.append({"file": path.name, "rows": table.num_rows, "sha256": digest})
        kept, images = kept + int(keep.sum()), images + table.num_rows
    content = {
        "images": images, "kept": kept, "per_class": per_class, "shards": shards, "teacher": teacher, "round": number,
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")


def read(folder: Path, ids: list[str], number: int) -> PseudoLabels:
    """The labels of `ids`, in their order. Raises BadInput when the store is of another pool."""
    if not ids:
        return PseudoLabels.none(0, number)
    table = read_table(folder, ["id", "classes", "probabilities", "weight"])
    if table["id"].to_pylist() != ids:
        raise BadInput(f"{folder} labels another pool than the split holds. Run `dvc repro` to label it again")
    lengths = {len(row) for row in table["classes"].to_pylist()}
    width = max(lengths, default=1)
    classes = np.array(table["classes"].combine_chunks().flatten(), np.int64).reshape(-1, width)
    probabilities = np.array(table["probabilities"].combine_chunks().flatten(), np.float32).reshape(-1, width)
    return PseudoLabels(classes, probabilities, table["weight"].to_numpy().astype(np.float32), number)


def read_table(folder: Path, columns: list[str]) -> pa.Table:
    """All shards as one table, in order."""
    paths = sorted(folder.glob("shard-*.parquet"))
    if not paths:
        return SCHEMA.empty_table().select(columns)
    return pa.concat_tables([pq.read_table(path, columns=columns) for path in paths])
