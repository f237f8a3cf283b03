"""The tables that say which images there are and who may see which label. Equal rows are equal bytes."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Int

from tutelage.types import BadInput

_PLACE = [("id", pa.string()), ("source", pa.string()), ("path", pa.string()), ("offset", pa.int64()),
          ("length", pa.int64()), ("sha256", pa.string())]  # fmt: skip
_SIZE = [("width", pa.int32()), ("height", pa.int32())]

MANIFEST = pa.schema(
    [
        *_PLACE,
        ("pixels", pa.string()),
        ("dhash", pa.uint64()),
        *_SIZE,
        ("label", pa.string()),
        ("domain", pa.string()),
        ("label_source", pa.string()),
        ("tasks", pa.list_(pa.field("element", pa.string()))),  # as Parquet calls it
    ]
)
SPLIT = pa.schema([*_PLACE, *_SIZE, ("domain", pa.string()), ("role", pa.string()), ("label", pa.int32())])
TRUTH = pa.schema([("id", pa.string()), ("label", pa.int32())])


def describe(table: pa.Table, *, roots: dict[str, str], classes: list[str]) -> pa.Table:
    """The same table with the folder of each source and the class names in its metadata."""
    return table.replace_schema_metadata({"roots": json.dumps(roots, sort_keys=True), "classes": json.dumps(classes)})


def roots_of(table: pa.Table) -> dict[str, str]:
    """source -> folder that paths are relative to, as written in params."""
    return dict(json.loads(_metadata(table, b"roots")))


def digest_of(table: pa.Table) -> bytes:
    """Changes with any row's id, bytes or role. No column is copied: memory does not grow with the rows."""
    digest = hashlib.sha256()
    for name in ("id", "sha256", "role"):
        for each in table[name]:
            digest.update(each.as_py().encode() + b"\n")
    return digest.digest()


def classes_of(table: pa.Table) -> list[str]:
    """Class names in the order of their numbers."""
    return list(json.loads(_metadata(table, b"classes")))


def write_manifest(folder: Path, table: pa.Table) -> None:
    _write(folder / "manifest.parquet", table, MANIFEST)


def read_manifest(folder: Path) -> pa.Table:
    """Raises BadInput when it is not there or of another version."""
    return read_columns(folder / "manifest.parquet", MANIFEST, "ingest")


def write_split(folder: Path, table: pa.Table, truth: pa.Table | None = None) -> None:
    """`truth` are hidden labels; of hidden objects see `tutelage.data.scenes`."""
    _write(folder / "split.parquet", table, SPLIT)
    if truth is not None:
        _write(folder / "truth.parquet", truth, TRUTH)


def read_split(folder: Path) -> pa.Table:
    """Raises BadInput when it is not there or of another version."""
    return read_columns(folder / "split.parquet", SPLIT, "split")


def read_truth(folder: Path) -> dict[str, int]:
    """Hidden labels of the pool, by id. For the oracle and the report alone. Raises BadInput."""
    table = read_columns(folder / "truth.parquet", TRUTH, "split")
    return dict(zip(table["id"].to_pylist(), table["label"].to_pylist(), strict=True))


def classes_by_id(table: pa.Table, truth: dict[str, int]) -> Int[np.ndarray, " n"]:
    """The hidden class of each row with an `id`, -1 where it is not known."""
    return np.array([truth.get(name, -1) for name in table["id"].to_pylist()], np.int64)


def _write(path: Path, table: pa.Table, schema: pa.Schema) -> None:
    pq.write_table(table.cast(schema.with_metadata(table.schema.metadata)).combine_chunks(), path, compression="zstd")


def read_columns(path: Path, schema: pa.Schema, stage: str = "") -> pa.Table:
    """A table of exactly these columns, of a `stage` where one alone writes it. Raises BadInput."""
    of = f" {stage}" if stage else ""
    try:
        table = pq.read_table(path)
    except (FileNotFoundError, pa.ArrowInvalid) as error:
        raise BadInput(f"{path} cannot be read ({error}). Run `dvc repro{of}` to make it") from error
    if not table.schema.equals(schema):
        again = f"`dvc repro --force{of}`{'' if stage else ' for its stage'}"
        raise BadInput(f"{path} has other columns than this version writes. Run {again}")
    return table


def _metadata(table: pa.Table, key: bytes) -> bytes:
    metadata = table.schema.metadata or {}
    if key not in metadata:
        raise BadInput(f"the table does not say its {key.decode()}: it is no manifest or split. Run `dvc repro split`")
    return bytes(metadata[key])
