"""At most so many pseudo-labels of a class: without it, easy and frequent classes crowd out the others."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Bool

from tutelage.data.pseudo_labels import BEYOND, SCHEMA, write_shards


def keep_surest(folder: Path, quota: int, *, rejected: float) -> None:
    """Of the labels of each class that the shards in `folder` keep, only the `quota` surest stay kept; of equally sure
    ones the first. The others weigh `rejected`.

    Exact over all shards, of which only numbers are in memory at a time. Once more, or where it was cut off, it ends
    with the same bytes: what it takes away ranks behind all that stays.
    """
    paths = sorted(folder.glob("shard-*.parquet"))
    said = [pq.read_table(path, columns=["label", "calibrated", "kept"]) for path in paths]
    if not said:
        return
    beyond = _beyond(pa.concat_tables(said), quota)
    ends = np.cumsum([each.num_rows for each in said])[:-1]
    for number, rows in enumerate(np.split(beyond, ends)):
        if rows.any():
            list(write_shards(folder, [(number, _without(pq.read_table(paths[number]), rows, rejected))]))


def _beyond(said: pa.Table, quota: int) -> Bool[np.ndarray, " n"]:
    """Which kept labels (label, calibrated, kept) are not among the `quota` surest of their class."""
    label, sure = said["label"].to_numpy(), said["calibrated"].to_numpy()
    places = np.flatnonzero(said["kept"].to_numpy())
    places = places[np.lexsort((-sure[places], label[places]))]  # class by class, the surest first; ties stay in order
    named = label[places]
    rank = np.arange(len(places)) - np.searchsorted(named, named)
    beyond = np.zeros(len(label), bool)
    beyond[places[rank >= quota]] = True
    return beyond


def _without(shard: pa.Table, rows: Bool[np.ndarray, " n"], rejected: float) -> pa.Table:
    """A shard in which those rows are not kept."""
    beyond = pa.array(rows)
    changed = {
        "weight": pc.if_else(beyond, pa.scalar(rejected, pa.float32()), shard["weight"]),
        "kept": pc.and_not(shard["kept"], beyond),
        "reason": pc.if_else(beyond, BEYOND, shard["reason"]),
    }
    return pa.table({name: changed.get(name, shard[name]) for name in SCHEMA.names}, schema=SCHEMA)
