"""What a model says of the test split, and the file that keeps it: predictions.parquet."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.params import Params
from tasks.training import labels_of, rows_of
from tutelage.data.groups import units_of
from tutelage.data.images import Images
from tutelage.data.manifest import classes_of
from tutelage.metrics.classification import softmax
from tutelage.metrics.comparison import Comparison, paired_bootstrap
from tutelage.models.files import Card
from tutelage.train.predict import checked, predict
from tutelage.train.settings import Compute
from tutelage.types import BadInput, Network


@dataclass(frozen=True)
class Answers:
    """Test images in the order of the split, by `id`."""

    ids: list[str]
    labels: np.ndarray  # truth [n], int64
    probabilities: np.ndarray  # [n, c], float32

    @property
    def predicted(self) -> np.ndarray:
        """Place of the most likely class [n]."""
        return np.asarray(self.probabilities.argmax(axis=1))

    @property
    def right(self) -> np.ndarray:
        """Whether each answer is the truth [n]."""
        return np.asarray(self.predicted == self.labels)


def rows_and_labels(table: pa.Table, card: Card, role: str) -> tuple[np.ndarray, np.ndarray]:
    """Images that play `role`, rows [n] and classes [n]. BadInput for none, and for other classes than the model's."""
    classes, rows = classes_of(table), rows_of(table, role)
    if card.classes != classes:
        raise BadInput(f"the model knows the classes {card.classes}, the split {classes}. Train it again on this split")
    if not len(rows):
        way_out = {"test": "ingest.test or split.test_fraction", "holdout": "split.holdout"}[role]
        raise BadInput(f"the split has no {role} image, so nothing can be measured. Set {way_out}")
    return rows, labels_of(table, rows)


def ask(table: pa.Table, network: Network, card: Card, *, compute: Compute, batch: int, role: str = "test") -> Answers:
    """What `network` says of the images that play `role`. BadInput for none, for other classes, for NaN."""
    rows, labels = rows_and_labels(table, card, role)
    logits = checked(predict(network, Images.open(table, card.image_size), rows, compute=compute, batch=batch))
    ids = table["id"].take(pa.array(rows)).to_pylist()
    return Answers(ids, labels, softmax(logits).astype(np.float32))


def gained(new: Answers, old: Answers, params: Params) -> Comparison:
    """What `new` gains on `old`, on the same images."""
    return paired_bootstrap(
        new.right[None], old.right[None], resamples=params.judge.resamples, seed=params.seed,
        units=units_of(new.ids, params.split.groups),
    )  # fmt: skip


def write_answers(folder: Path, answers: Answers) -> None:
    columns = {
        "id": pa.array(answers.ids),
        "label": pa.array(answers.labels, pa.int32()),
        "predicted": pa.array(answers.predicted, pa.int32()),
        "probabilities": pa.array(list(answers.probabilities), pa.list_(pa.float32())),
    }
    pq.write_table(pa.table(columns), folder / "predictions.parquet", compression="zstd")


def read_answers(folder: Path) -> Answers:
    """Raises BadInput where the evaluation had no model."""
    path = folder / "predictions.parquet"
    if not path.exists():
        raise BadInput(f"{path} does not exist: {folder} evaluated no model. Its metrics.json says why")
    table = pq.read_table(path)
    flat = table["probabilities"].combine_chunks().flatten().to_numpy()
    return Answers(
        table["id"].to_pylist(), table["label"].to_numpy().astype(np.int64), flat.reshape(table.num_rows, -1)
    )
