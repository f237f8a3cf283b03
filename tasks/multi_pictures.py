"""Answers for a scene as pictures: boxes, classes of pixels, depth."""

from typing import NamedTuple

import cv2
import matplotlib
import numpy as np
from jaxtyping import Float, Int, UInt8

from tasks.box_pictures import Mark, drawn
from tutelage.data.multi_batches import Known
from tutelage.train.answers import Said
from tutelage.types import IGNORE, Task

Picture = UInt8[np.ndarray, "h w 3"]
_UNSURE = 200  # grey of pixels whose class, or depth, is left out


class Opinion(NamedTuple):
    """What is said of one scene, in pixels of the network's letterbox; None for a task of which nothing is said."""

    size: int  # pixels a side of that letterbox
    present: Float[np.ndarray, " c"] | None
    boxes: tuple[Float[np.ndarray, "k 4"], Int[np.ndarray, " k"]] | None
    segments: Int[np.ndarray, "s s"] | None
    depth: Float[np.ndarray, "s s"] | None


def of_teachers(known: Known, size: int) -> Opinion:
    """What a student of `size` pixels is told of an image; boxes without weight are left out."""
    boxes = None
    if known.detection is not None:
        sure = known.detection.boxes.weight.numpy() > 0
        boxes = (known.detection.boxes.places.numpy()[sure], known.detection.boxes.labels.numpy()[sure])
    return Opinion(
        size,
        None if known.classification is None else known.classification.target,
        boxes,
        None if known.segmentation is None else known.segmentation.target,
        None if known.depth is None else known.depth.target,
    )


def of_network(said: Said, size: int, factor: float, *, least: float) -> Opinion:
    """`factor`: pixels of the letterbox for each of the image. `least`: score of a box that is shown."""
    found = said.detection
    sure = None if found is None else found.scores >= least
    return Opinion(
        size,
        said.classification,
        None if found is None else (found.places[sure] * factor, found.labels[sure]),
        None if said.segmentation is None else said.segmentation.argmax(0),
        said.depth,
    )


def pictured(task: Task, image: Picture, said: Opinion, classes: list[str], *, colour: str, far: float) -> Picture:
    """The answer to `task` over the square `image`. `colour`: of boxes, a key of box_pictures.COLOURS; `far`: the depth
    of the darkest blue. An answer of nothing is the plain image."""
    side = image.shape[0]
    if task == "detection" and said.boxes is not None:
        places, labels = said.boxes
        zoom = side / said.size
        return drawn(image, [Mark(place * zoom, colour, classes[label]) for place, label in
                             zip(places, labels, strict=True)])  # fmt: skip
    if task == "segmentation" and said.segments is not None:
        large = cv2.resize(said.segments.astype(np.int16), (side, side), interpolation=cv2.INTER_NEAREST)
        palette = (255 * matplotlib.colormaps["tab10"](np.arange(1 + len(classes)) % 10)[:, :3]).astype(np.uint8)
        palette[0] = 0
        shown = np.where((large == IGNORE)[..., None], np.uint8(_UNSURE), palette[np.clip(large, 0, None)])
        return cv2.addWeighted(image, 0.35, shown.astype(np.uint8), 0.65, 0)
    if task == "depth" and said.depth is not None:
        near = 1 - np.clip(said.depth / max(far, 1e-6), 0, 1)
        colours = (255 * matplotlib.colormaps["viridis"](near)[..., :3]).astype(np.uint8)
        colours[said.depth <= 0] = _UNSURE
        return cv2.resize(colours, (side, side), interpolation=cv2.INTER_NEAREST)
    return image


def named(said: Opinion, classes: list[str], least: float) -> str:
    """The classes that are there, with their probabilities."""
    if said.present is None:
        return "-"
    there = [f"{name} {chance:.2f}" for name, chance in zip(classes, said.present, strict=True) if chance >= least]
    return ", ".join(there) or "none"
