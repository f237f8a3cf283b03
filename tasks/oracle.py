"""The all-labels oracle."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from tasks.io import whole, write_json
from tasks.params import Params
from tasks.training import NOTE, Job, labels_of, rows_of, run
from tutelage.data.manifest import classes_of, read_split, read_truth
from tutelage.data.pseudo_labels import PseudoLabels


def oracle(split: Path, doctor: Path, *, params: Params, out: Path) -> Path:
    """Train on the pool's hidden labels as well: what perfect pseudo-labels would give.

    Where the pool has no hidden labels (any real pool) it writes unavailable.json, and the report leaves the line out.
    """
    table, truth = read_split(split), read_truth(split)
    if not truth:
        with whole(out) as folder:
            write_json(folder / "unavailable.json", {"reason": "the pool has no hidden labels"})
        return out
    job = oracle_job(table, truth, params)
    return run(job, table, params, out, notes={NOTE: ["labelled", "holdout", "pool"]})


def oracle_job(table: pa.Table, truth: dict[str, int], params: Params) -> Job:
    """What the oracle is trained on; `truth` is the class of each image of the pool that has a hidden one."""
    given = np.concatenate([rows_of(table, "labelled"), rows_of(table, "holdout")])
    pool = rows_of(table, "pool")
    ids = table["id"].to_pylist()
    known = np.array([row for row in pool if ids[row] in truth], np.int64)
    rows = np.concatenate([given, known])
    labels = np.concatenate([labels_of(table, given), np.array([truth[ids[row]] for row in known], np.int64)])
    return Job(
        name="oracle", train=params.oracle, network=params.network, labeled=rows, labels=labels,
        pool=np.zeros(0, np.int64), pseudo=PseudoLabels.none(0, len(classes_of(table))),
    )  # fmt: skip
