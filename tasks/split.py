"""Who may see which label."""

from collections import Counter
from pathlib import Path

from tasks.io import whole
from tasks.params import Params
from tutelage.data.manifest import read_manifest, write_split
from tutelage.data.split import ROLES, draw


def split(ingested: Path, *, params: Params, out: Path) -> Path:
    """Manifest -> split.parquet (image, role, label or blank), truth.parquet (labels of the pool that are hidden).

    Roles follow from the seed and each image's bytes, of the test its pixels: new images move none but those whose
    place they take. Images of one group (`split.groups`) are never on both sides of the test, nor of the hold-out.
    """
    wanted = params.split
    table, truth = draw(
        read_manifest(ingested), seed=params.seed, labels_per_class=wanted.labels_per_class, holdout=wanted.holdout,
        test_fraction=wanted.test_fraction, groups=wanted.groups,
    )  # fmt: skip
    with whole(out) as folder:
        write_split(folder, table, truth)
    counts = Counter(table["role"].to_pylist())
    print("split: " + ", ".join(f"{counts[role]} {role}" for role in ROLES))
    return out
