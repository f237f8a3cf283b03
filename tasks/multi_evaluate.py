"""The test of a network with one head or several."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from tasks.box_answers import marked
from tasks.io import whole, write_json
from tasks.latency import operations
from tasks.multi_label import say
from tasks.multi_params import EvaluateMulti
from tasks.multi_training import truth_of
from tasks.multi_truth import Truth
from tasks.params import Params
from tasks.text import table as markdown
from tutelage.data.boxes import Found
from tutelage.data.manifest import read_split
from tutelage.metrics.coco import score
from tutelage.metrics.depth import errors, mean_errors
from tutelage.metrics.segmentation import boundary_f, count, overlaps
from tutelage.models.multi_files import load_multi
from tutelage.train.answers import Said
from tutelage.types import IGNORE, BadInput, Task

SCORES: dict[Task, str] = {"classification": "accuracy", "detection": "ap", "segmentation": "miou", "depth": "delta"}


class Answer(NamedTuple):
    """As `Said`, but of each pixel its class alone: probabilities of all images at once would fill the memory."""

    classification: Float[np.ndarray, " c"] | None
    detection: Found | None
    segmentation: Int[np.ndarray, "s s"] | None
    depth: Float[np.ndarray, "s s"] | None


def multi_evaluate(split: Path, shares: Path, model: Path, *, params: Params, out: Path) -> Path:
    """Test scenes and a network -> metrics.json, report.md: of each task that it has a head for, how well it does.

    The score of a task, in 0..1: the share of the images whose set of classes is named exactly; COCO's AP; mean IoU;
    the share of the pixels whose depth is off by a factor of less than 1.25. Pixels are those of the network's input.
    """
    table, wanted = read_split(split), params.multitask
    net, card = load_multi(model / "model.safetensors")
    if card.image_size != wanted.network.detector.image_size:
        raise BadInput(f"{model} sees {card.image_size} pixels, multitask.network another size. Train it again")
    test, truth = marked(split, table, "test"), truth_of(split, shares, table, params)
    said = decided(say(table, [test.rows], (net, card), params, wanted.evaluate.batch))
    tasks = [task for task in net.tasks if task in wanted.tasks]
    measured = {task: measure(task, truth, test.rows, said, card.classes, wanted.evaluate) for task in tasks}
    metrics = {
        "tasks": measured,
        "scores": {task: measured[task][SCORES[task]] for task in tasks},
        "images": len(test.rows),
        "with_depth": sum(int(row) in truth.depths for row in test.rows),
        "parameters": card.parameters,
        "operations": operations(net.cpu(), card.image_size),
        "model": card.sha256,
    }
    with whole(out) as folder:
        write_json(folder / "metrics.json", metrics)
        (folder / "report.md").write_text(_markdown(str(model), metrics))
    return out


def decided(said: Iterable[Said]) -> list[Answer]:
    """What `measure` needs to know of each image."""
    return [
        Answer(
            one.classification, one.detection,
            None if one.segmentation is None else one.segmentation.argmax(0).astype(np.int16), one.depth,
        )
        for one in said
    ]  # fmt: skip


def measure(
    task: Task, truth: Truth, rows: np.ndarray, said: Sequence[Answer], classes: list[str], wanted: EvaluateMulti
) -> dict[str, Any]:
    """The score of a task (SCORES) and what else is measured. What is said of a class that nobody looked for in an
    image is neither right nor wrong."""
    match task:
        case "classification":
            given = np.stack([truth.present(int(row)) for row in rows]) > 0
            known = np.stack([truth.searched(int(row)) for row in rows])
            right = given == (np.stack([_some(each.classification) for each in said]) >= wanted.present)
            return {"accuracy": float((right | ~known).all(1).mean()), "single_classes": float(right[known].mean())}
        case "detection":
            found = [_some(each.detection) for each in said]
            told = score(
                [truth.objects[int(row)] for row in rows], found, classes, max_detections=wanted.max_detections
            )
            return {"ap": told.ap or 0.0, "ap50": told.ap50 or 0.0}
        case "segmentation":
            return _segmented(truth, rows, said, classes)
        case "depth":
            each = [_depth(truth, int(row), _some(one.depth)) for row, one in zip(rows, said, strict=True)]
            return mean_errors(each)._asdict()


def _segmented(truth: Truth, rows: np.ndarray, said: Sequence[Answer], classes: list[str]) -> dict[str, Any]:
    """mIoU, mean boundary F and the IoU of each class, null for a class that nobody has."""
    names = ["background", *classes]
    pairs = [_judged(truth, int(row), _some(one.segmentation)) for row, one in zip(rows, said, strict=True)]
    matrix = np.sum([count(*pair, len(names)) for pair in pairs], axis=0)
    each, outline = overlaps(matrix), boundary_f(pairs, len(names))
    return {
        "miou": each.mean,
        "boundary_f": float(np.nanmean(outline)),
        "iou": {
            name: None if math.isnan(value) else value for name, value in zip(names, each.iou.tolist(), strict=True)
        },
    }


def _judged(
    truth: Truth, row: int, said: Int[np.ndarray, "s s"]
) -> tuple[Int[np.ndarray, "s s"], Int[np.ndarray, "s s"]]:
    """What the pixels are and what is said of them. What nobody marked may be a class that nobody looked for."""
    seen, nowhere = truth.segments(row).astype(np.int16), 1 + np.flatnonzero(~truth.searched(row))
    return np.where((seen == 0) & np.isin(said, nowhere), np.int16(IGNORE), seen), said


def _depth(truth: Truth, row: int, said: np.ndarray) -> Any:
    return errors(truth.depth(row), said) if row in truth.depths else None


def _some(answer: Any) -> Any:
    """What a network with that head always says."""
    assert answer is not None
    return answer


def _markdown(name: str, metrics: dict[str, Any]) -> str:
    rows = [
        [task, measure, f"{value:.3f}"]
        for task, measures in metrics["tasks"].items()
        for measure, value in measures.items()
        if isinstance(value, float)
    ]
    told = f"{metrics['images']:,} test images, {metrics['parameters']:,} parameters"
    return f"# Test of {name}\n\n{told}.\n\n{markdown(['task', 'measure', 'value'], rows)}\n"
