"""What a run is handed, looked at before it is trained on: a mistake in it is learned, or told by a line of torch's.

Kinds and shapes are looked at always, values only on the CPU: on a GPU each look would wait for all that was asked of
it before. Pixels that are not finite are none of this: a step on them is skipped.
"""

import math
from typing import Any

import torch
from torch import Tensor

from tutelage.data.batch_views import Planned
from tutelage.methods.method import Verbs
from tutelage.models.box_matching import check_boxes
from tutelage.multi_types import Multi
from tutelage.types import BadInput, Batch, Boxes, Detector, Labeled, Network, Scenes, Unlabeled

BEYOND = 0.3  # how far outside 0..1 the pixels of a view may lie: sharp scaling overshoots
OFF = 0.01  # how far the sum of a row may be from 0 or 1: half precision rounds
PIXELS = (torch.uint8, torch.float32, torch.float16, torch.bfloat16)
WHOLE, FLOATS = (torch.int64, torch.int32), (torch.float32, torch.float64, torch.float16, torch.bfloat16)
MADE: dict[type[Any], str] = {  # where a network of the kind comes from, and methods of others
    Network: "One that answers with Outputs is written as docs/library.md shows, or made by models.backbone.create; "
    "methods for a Detector and a Multi are in methods.detection and methods.multitask",
    Detector: "One is made by models.detectors.create_detector; methods for classifiers are in methods.METHODS",
    Multi: "One is models.multi.MultiNet; methods for classifiers are in methods.METHODS",
}


def check_network(method: Verbs[Any, Any, Any], name: str, net: Any) -> None:
    """BadInput where a student or teacher is not of the kind that `method` is for."""
    net = getattr(net, "_orig_mod", net)  # torch.compile's wrapper
    if not isinstance(net, method.trains):
        raise BadInput(
            f"the {name} is a {type(net).__name__}, and {type(method).__name__} is for a {method.trains.__name__}. "
            f"{MADE[method.trains]}"
        )


def check_batch(batch: Any, method: Verbs[Any, Any, Any], student: Any) -> None:
    """BadInput where a batch is not what `method` sees, or holds what no network can learn from."""
    _check_kind("a batch", batch, method.sees)
    if isinstance(batch, Batch):
        _check_kind("`labeled`", batch.labeled, Labeled)
        _check_kind("`unlabeled`", batch.unlabeled, Unlabeled)
        _check_unlabeled(batch.unlabeled)
        _check_labeled(batch.labeled, classes=batch.unlabeled.target.shape[1])
    else:
        _check_scenes(batch, student)


def _check_kind(name: str, given: Any, wanted: type[Any]) -> None:
    if not isinstance(given, wanted):
        raise BadInput(
            f"{name} is a {type(given).__name__}: {wanted.__module__}.{wanted.__name__} is seen, of "
            f"{', '.join(getattr(wanted, '_fields', ()))}. Make one of what you have: docs/library.md shows how"
        )


def _check_scenes(part: Any, student: Any) -> None:
    if isinstance(part, tuple) and part and all(isinstance(each, Boxes) for each in part):
        check_boxes(part, student.classes)
    elif isinstance(part, tuple):
        for name in ("weak", "strong", "images"):
            if hasattr(part, name):
                _check_images(name, getattr(part, name))
        if isinstance(part, Scenes):
            shape = (len(part.weak_boxes), student.classes)
            rule = f"bool {list(shape)}, the classes that were looked for in each image: torch.ones where all were"
            _check_tensor("known", part.known, shape, (torch.bool,), rule)
        for inner in part:
            _check_scenes(inner, student)


def _check_labeled(part: Labeled, *, classes: int) -> None:
    number = _check_images("labeled.weak", part.weak)
    _check_images("labeled.strong", part.strong, number)
    rule = f"int64 [{number}], the class of each image. Write labels.long(), of one-hot rows labels.argmax(1)"
    _check_tensor("labels", part.labels, (number,), (torch.int64,), rule)
    if not _seen(part.labels):
        return
    for found in map(int, part.labels.aminmax()):
        if not 0 <= found < classes:
            raise BadInput(
                f"`labels` hold {found}, but {classes} classes, the columns of `target`, are 0 to {classes - 1}. "
                "Subtract 1 from labels that begin at 1; put images without a label into `unlabeled`"
            )


def _check_unlabeled(part: Unlabeled) -> None:
    number = _check_images("unlabeled.weak", part.weak)
    _check_images("unlabeled.strong", part.strong, number)
    _check_tensor("ids", part.ids, (number,), WHOLE, f"int64 [{number}], the place of each image in the pool")
    rule = f"float32 [{number}, classes], a distribution for each image, zeros where nobody said anything"
    _check_tensor("target", part.target, (number, None), FLOATS, rule)
    rule = f"float32 [{number}], the trust in each row of `target`, zeros where there is none"
    _check_tensor("weight", part.weight, (number,), FLOATS, rule)
    if _seen(part.weight) and (part.weight < 0).any():
        raise BadInput(f"`weight` holds {part.weight.min():g}: trust is 0 or more. Write 0 where there is none")
    if _seen(part.target):
        _check_rows(part.target)


def _check_rows(target: Tensor) -> None:
    sums = target.sum(1)
    wrong = ((sums - (sums > 0.5).float()).abs() > OFF) | (target.amin(1) < -OFF)
    if wrong.any():
        raise BadInput(
            f"`target` has a row of {sums[wrong][0]:.4g} in all, from {target[wrong][0].min():.4g} to "
            f"{target[wrong][0].max():.4g}: a row is a distribution, or zeros. Of logits take softmax(1)"
        )


def _check_images(name: str, given: Any, number: int | None = None) -> int:
    """How many there are, which must be `number` where that is given."""
    pixels = given.images if isinstance(given, Planned) else given
    count = "n" if number is None else number
    rule = f"[{count}, 3, h, w], RGB, uint8 or float32 in 0..1. Of [n, h, w, 3] take permute(0, 3, 1, 2), else .float()"
    _check_tensor(name, pixels, (number, 3, None, None), PIXELS, rule)
    if pixels.is_floating_point() and _seen(pixels):
        low, high = map(float, pixels.aminmax())
        if math.isfinite(low + high) and not -BEYOND <= low <= high <= 1 + BEYOND:
            raise BadInput(
                f"`{name}` has pixels from {low:.4g} to {high:.4g}: floats are in 0..1, as networks normalise them "
                "themselves. Divide 0..255 by 255, or leave it uint8; take no mean off before"
            )
    return len(pixels)


def _check_tensor(
    name: str, given: Any, shape: tuple[int | None, ...], kinds: tuple[torch.dtype, ...], rule: str
) -> None:
    if not isinstance(given, Tensor):
        raise BadInput(f"`{name}` is a {type(given).__name__}: it must be a tensor {rule}. torch.from_numpy makes one")
    fits = given.ndim == len(shape) and all(
        wanted in (None, found) for wanted, found in zip(shape, given.shape, strict=True)
    )
    if not fits or given.dtype not in kinds:
        kind = str(given.dtype).removeprefix("torch.")
        raise BadInput(f"`{name}` is {kind} of shape {tuple(given.shape)}: it must be {rule}")


def _seen(given: Tensor) -> bool:
    """Whether its values may be looked at, and there are any."""
    return given.device.type == "cpu" and given.numel() > 0
