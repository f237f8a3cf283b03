"""Images that no manifest knows: read once, checked as `ingest` checks them, and made ready for a network."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from tutelage.data.batches import ahead
from tutelage.data.decoding import Unusable, letterbox, resize
from tutelage.data.ingest import read_whole
from tutelage.data.reading import Reader
from tutelage.data.records import Refusal, Scan


class Ready(NamedTuple):
    """Some images in the order of their scan; those that cannot be read are told apart."""

    names: list[str]  # paths in the source
    pixels: UInt8[Tensor, "n 3 size size"]
    sizes: Int[Tensor, "n 2"]  # width and height in pixels, upright
    refused: list[Refusal]


@dataclass(frozen=True)
class Unseen(Dataset[Ready]):
    """The images of a scan, `batch` at a time, as `Images` shows them: stretched to a square, or in a letterbox.

    Each is decoded once, by `examine`. Of a CMYK JPEG a pixel may be one step of 255 from what `Images` shows.
    """

    scan: Scan
    size: int  # pixels of a side
    batch: int
    max_pixels: int
    letterbox: bool = False

    def __len__(self) -> int:
        return -(-len(self.scan.found) // self.batch)

    def __getitem__(self, number: int) -> Ready:
        if not 0 <= number < len(self):
            raise IndexError(number)
        cv2.setNumThreads(0)  # as Images does
        names, squares, sizes, refused = [], [], [], []
        reader, fit = Reader(), letterbox if self.letterbox else resize
        for image in self.scan.found[number * self.batch : (number + 1) * self.batch]:
            try:
                _, pixels = read_whole(image, self.scan.root, reader, self.max_pixels)
            except Unusable as error:
                refused.append(Refusal(image.id, error.reason, error.detail))
                continue
            names.append(image.id.partition("/")[2])
            squares.append(fit(pixels, self.size))
            sizes.append(pixels.shape[1::-1])
        stacked = torch.from_numpy(np.array(squares, np.uint8).reshape(-1, self.size, self.size, 3))
        return Ready(names, stacked.permute(0, 3, 1, 2), torch.tensor(sizes, dtype=torch.int64).reshape(-1, 2), refused)


def read_unseen(unseen: Unseen, *, workers: int) -> Iterator[Ready]:
    """All parts in order, read ahead of use by `workers` processes. Memory does not grow with pixels."""
    yield from ahead(unseen, start=0, stop=len(unseen), workers=workers)
