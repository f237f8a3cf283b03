"""How far images lie from the labelled ones, as a teacher sees them: calibrate finds how far is too far, and whoever
has its calibration asks that of other images."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from safetensors.numpy import load, save

from tasks.params import Params
from tasks.training import labels_of, rows_of
from tutelage.data.images import Images
from tutelage.metrics.out_of_distribution import Known, known
from tutelage.train.predict import checked, describe
from tutelage.types import BadInput, Network

FILE = "known.safetensors"  # beside a calibration.json that has a border


@dataclass(frozen=True)
class Familiar:
    """The images of a split that are trained on, and a network to see others beside them."""

    network: Network
    images: Images
    known: Known
    params: Params

    @classmethod
    def of(cls, table: pa.Table, network: Network, images: Images, params: Params) -> "Familiar":
        """Raises BadInput where the labelled images say nothing: see tutelage.metrics.out_of_distribution."""
        rows = rows_of(table, "labelled")
        embedded = checked(_embeddings(network, images, rows, params))
        return cls(network, images, known(embedded, labels_of(table, rows)), params)

    def distance(self, rows: np.ndarray) -> np.ndarray:
        """Of each row of the split to the nearest class [n], float32."""
        if not len(rows):
            return np.zeros(0, np.float32)
        return self.known.distance(checked(_embeddings(self.network, self.images, rows, self.params)))


@dataclass(frozen=True)
class Border:
    """Beyond it an image is of none of the classes. Without `known` nothing is."""

    known: Known | None = None
    limit: float = np.inf

    def distance(self, embeddings: np.ndarray) -> np.ndarray:
        """Of each image [n], float32; nan where nobody asked."""
        if self.known is None:
            return np.full(len(embeddings), np.nan, np.float32)
        return self.known.distance(checked(embeddings))

    def inside(self, distance: np.ndarray) -> np.ndarray:
        """Which of them may be of the classes [n]."""
        return ~(distance > self.limit)  # of nan, too


NOWHERE = Border()


def border_of(told: dict[str, Any] | None, calibration: Path) -> Border:
    """That of a calibration whose calibration.json says `told` of it. Raises BadInput where FILE is not of it."""
    if told is None:
        return NOWHERE
    path, again = calibration / FILE, "Run `dvc repro` to calibrate again"
    try:
        content, digest = path.read_bytes(), told["known"]
    except (FileNotFoundError, KeyError) as error:
        raise BadInput(f"{calibration} has a border and not what it is drawn around ({FILE}). {again}") from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise BadInput(f"{path} is not what calibration.json was written with. {again}")
    numbers = load(content)
    return Border(Known(numbers["means"], numbers["precision"]), told["limit"])


def packed(familiar: Known) -> tuple[bytes, str]:
    """What FILE holds, and its sha256."""
    content = save({"means": familiar.means, "precision": familiar.precision})
    return content, hashlib.sha256(content).hexdigest()


def _embeddings(network: Network, images: Images, rows: np.ndarray, params: Params) -> np.ndarray:
    return describe(network, images, rows, compute=params.compute, batch=params.pseudo_label.batch)[1]
