"""What a detector finds in many images, a batch at a time: memory does not grow with their number."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from accelerate import Accelerator
from jaxtyping import Float, Int
from torch import Tensor

from tutelage.data.batches import on_device
from tutelage.data.boxes import Found
from tutelage.data.images import Images
from tutelage.data.orientations import Orientation, oriented, upright
from tutelage.data.unseen import Ready
from tutelage.metrics.box_trust import fused
from tutelage.train.device import accelerator
from tutelage.train.predict import batches_of
from tutelage.train.settings import Compute
from tutelage.types import Detections, Detector


def detect(
    net: Detector, images: Images, chunks: Sequence[Int[np.ndarray, " _"]], sizes: Int[np.ndarray, "r 2"], *,
    compute: Compute, ways: Sequence[Orientation] = (Orientation(),),
) -> Iterator[list[Found]]:  # fmt: skip
    """What is found in each chunk of rows, in order. The detector is put in eval mode, on the device.

    `images` are letterboxed; `sizes` are width and height of the original of each of their rows. Places are in pixels
    of the original, and what lies beyond its edges is cut off. Of several `ways` to look at an image the boxes are
    fused (`box_trust.fused`, all ways alike), of which as many are kept as the way that found most has.

    Radosavovic et al., Data Distillation, CVPR 2018. https://arxiv.org/abs/1712.04440
    """
    engine = accelerator(compute)
    net = net.eval().to(engine.device)
    for rows, seen in zip(chunks, batches_of(images, chunks, compute=compute, device=engine.device), strict=True):
        yield _found(net, seen, sizes[rows], engine, ways)


def boxes_of(net: Detector, parts: Iterable[Ready], *, compute: Compute) -> Iterator[tuple[Ready, list[Found]]]:
    """As `detect`, of letterboxed images that no table has: each part with what is found in its images."""
    engine = accelerator(compute)
    net = net.eval().to(engine.device)
    for part in parts:
        seen = on_device(part.pixels, engine.device)
        yield part, _found(net, seen, part.sizes.numpy(), engine, (Orientation(),)) if part.names else []


def _found(
    net: Detector, seen: Float[Tensor, "n 3 s s"], sizes: Int[np.ndarray, "n 2"], engine: Accelerator,
    ways: Sequence[Orientation],
) -> list[Found]:  # fmt: skip
    size = seen.shape[-1]
    # Not around a yield: who asks for the next batch must not find gradients switched off.
    with torch.inference_mode(), engine.autocast():
        found = [_upright(_on_host(net(oriented(seen, way))), way, size) for way in ways]
    looks = [[in_original(each, wide_high, size) for each, wide_high in zip(one, sizes, strict=True)] for one in found]
    return [_as_one(each) for each in zip(*looks, strict=True)]


def detect_all(
    net: Detector, images: Images, rows: Int[np.ndarray, " n"], sizes: Int[np.ndarray, "r 2"], *, compute: Compute,
    batch: int, ways: Sequence[Orientation] = (Orientation(),),
) -> list[Found]:  # fmt: skip
    """What is found in all rows at once, for sets that fit in memory."""
    chunks = [rows[i : i + batch] for i in range(0, len(rows), batch)]
    return [found for chunk in detect(net, images, chunks, sizes, compute=compute, ways=ways) for found in chunk]


def _as_one(looks: Sequence[Found]) -> Found:
    """What several looks at an image find, as one detector's boxes."""
    if len(looks) == 1:
        return looks[0]
    both, most = fused(looks, weights=[1.0] * len(looks)), max(len(one.scores) for one in looks)
    return Found(*(column[:most] for column in both))


def _upright(found: list[Detections], way: Orientation, size: int) -> list[Detections]:
    if way == Orientation():
        return found
    return [one._replace(places=upright(one.places, way, size)) for one in found]


def _on_host(found: list[Detections]) -> list[Detections]:
    """The same in the computer's memory, for which a GPU is waited for once a field, not once an image."""
    counts = [len(one.scores) for one in found]
    columns = [torch.cat(column).cpu().split(counts) for column in zip(*found, strict=True)]
    return [Detections(*fields) for fields in zip(*columns, strict=True)]


def in_original(found: Detections, wide_high: Int[np.ndarray, " 2"], size: int) -> Found:
    """Boxes of a letterbox of `size` pixels as boxes of the image, whose width and height are `wide_high`."""
    places, labels, scores = (field.cpu().numpy() for field in found)
    places = np.clip(places * (wide_high.max() / size), 0, np.tile(wide_high, 2)).astype(np.float32)
    seen = (places[:, 2:] > places[:, :2]).all(1)
    return Found(places[seen], labels[seen].astype(np.int64), scores[seen].astype(np.float32))
