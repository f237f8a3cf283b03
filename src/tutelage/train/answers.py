"""What a network with a head a task says of many images, a batch at a time: memory does not grow with their number."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int

from tutelage.data.boxes import Found
from tutelage.data.images import Images
from tutelage.multi_types import Multi
from tutelage.train.detect import in_original
from tutelage.train.device import accelerator
from tutelage.train.predict import batches_of
from tutelage.train.settings import Compute


class Said(NamedTuple):
    """The answers to one image; None for a task that the network has no head for."""

    classification: Float[np.ndarray, " c"] | None  # probability that the class is there
    detection: Found | None  # in pixels of the original image
    segmentation: Float[np.ndarray, "d s s"] | None  # probabilities of each pixel of the letterbox, background first
    depth: Float[np.ndarray, "s s"] | None  # of each pixel of the letterbox


def answers(
    net: Multi, images: Images, chunks: Sequence[Int[np.ndarray, " _"]], sizes: Int[np.ndarray, "r 2"], *,
    compute: Compute,
) -> Iterator[list[Said]]:  # fmt: skip
    """What is said of each chunk of rows, in order. The network is put in eval mode, on the device.

    `images` are letterboxed; `sizes` are width and height of the original of each of their rows.
    """
    engine = accelerator(compute)
    net = net.eval().to(engine.device)
    for rows, seen in zip(chunks, batches_of(images, chunks, compute=compute, device=engine.device), strict=True):
        with torch.inference_mode(), engine.autocast():
            said = net.answers(seen)
        present, segments, depth = (
            None if each is None else each.float().cpu().numpy()
            for each in (said.classification, said.segmentation, said.depth)
        )
        yield [
            Said(
                None if present is None else present[place],
                None if said.detection is None else in_original(said.detection[place], sizes[row], images.size),
                None if segments is None else segments[place],
                None if depth is None else depth[place],
            )
            for place, row in enumerate(rows)
        ]
