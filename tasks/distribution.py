"""How far images lie from the labelled ones, as a teacher sees them."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tasks.params import Params
from tasks.training import labels_of, rows_of
from tutelage.data.images import Images
from tutelage.metrics.out_of_distribution import Known, known
from tutelage.train.predict import checked, describe
from tutelage.types import Network


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


def _embeddings(network: Network, images: Images, rows: np.ndarray, params: Params) -> np.ndarray:
    return describe(network, images, rows, compute=params.compute, batch=params.pseudo_label.batch)[1]
