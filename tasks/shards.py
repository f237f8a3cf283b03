"""A pool that is labelled shard by shard: what is finished is kept when the run is killed."""

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa

from tasks.finished import begin, finish
from tasks.io import whole
from tasks.progress import Progress, memory_told
from tutelage.data.pseudo_labels import shard_name, write_shards


def missing(pool: np.ndarray, size: int, *, done: Path) -> list[tuple[int, np.ndarray]]:
    """The shards of `pool` that are not in `done` yet: their numbers and rows."""
    shards = [pool[first : first + size] for first in range(0, len(pool), size)]
    return [(number, rows) for number, rows in enumerate(shards) if not (done / shard_name(number)).exists()]


def store(
    shards: Iterable[tuple[int, pa.Table]], scratch: Path, out: Path, *, bar: Progress, schema: pa.Schema,
    describe: Callable[[Path], None],
) -> Path:  # fmt: skip
    """Shards, those of a former run in `scratch` among them, and the manifest that `describe` writes beside them.

    What `describe` changes in the shards is changed in `out` alone: `scratch` keeps them as they were made.
    """
    begin(bar.name, scratch)
    with bar:
        for rows in write_shards(scratch, shards, schema=schema):
            bar.update(rows)
    print(f"{bar.name}: {memory_told()}", flush=True)
    with whole(out) as folder:
        for path in scratch.glob("shard-*.parquet"):
            shutil.copy(path, folder / path.name)
        describe(folder)
    finish(out, scratch)
    return out
