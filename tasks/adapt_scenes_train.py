"""The network of the source alone, and the one that was taught the target."""

from pathlib import Path

import numpy as np

from tasks.adapt_scenes import as_scenes, job_of, truth_of, unmasked
from tasks.io import whole, write_json
from tasks.multi_said import nothing_told
from tasks.multi_training import train_multi
from tasks.params import Params
from tasks.training import rows_of
from tutelage.data.manifest import read_split
from tutelage.data.scenes import read_boxes, read_known
from tutelage.types import BadInput


def adapt_scenes_train(split: Path, *, params: Params, out: Path) -> Path:
    """Train the network that `out` names: model.safetensors, curve.csv.

    `source` and `baseline` learn from the source's labels alone; `oracle` from the target's hidden ones alone, and
    writes unavailable.json where there are none.
    """
    table, wanted, known = read_split(split), params.adapt_scenes, as_scenes(params)
    match out.name:
        case "source" | "baseline":
            truth, rows, train = truth_of(split, table, known), rows_of(table, "labelled"), getattr(wanted, out.name)
        case "oracle":
            truth, train = truth_of(split, table, known, hidden=True), wanted.oracle
            able = set(read_known(split))
            if "segmentation" in wanted.network.tasks:
                able -= unmasked(read_boxes(split, "truth.parquet"))
            pool, ids = rows_of(table, "pool"), table["id"].to_pylist()
            rows = np.array([row for row in pool if ids[row] in able], np.int64)
            if not len(rows):
                with whole(out) as folder:
                    write_json(folder / "unavailable.json", {"reason": "the target has no hidden labels"})
                return out
        case _:
            raise BadInput(f"{out} names no network: write work/adapt_scenes/source, baseline or oracle")
    job = job_of(f"adapt_scenes@{out.name}", train, truth, rows, nothing_told(truth), known)
    return train_multi(job, table, known, out)
