"""What a model says of images that are new."""

import csv
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from tasks.io import read_json, whole, write_json
from tasks.params import Params
from tasks.progress import Progress
from tasks.promote import sha256_of
from tasks.rules import Rules, rules_of
from tutelage.data.boxes import Found
from tutelage.data.coco_file import write_coco_found
from tutelage.data.pseudo_labels import FOREIGN
from tutelage.data.records import Refusal
from tutelage.data.sources import scan_unasked
from tutelage.data.unseen import Ready, Unseen, read_unseen
from tutelage.models.files import Card, DetectorCard, kind_of, load_detector, load_model
from tutelage.train.detect import boxes_of
from tutelage.train.predict import checked, described_of
from tutelage.types import BadInput

ABOUT = "predicted.json"  # what tells OUT from a folder of the user's
TOP = 5  # classes of a row at most
ORDER = "The order is MODEL IMAGES [CALIBRATION] OUT"
LABELS = {"several tasks": "`python -m tasks multi_label SPLIT MODEL OUT` labels a pool with it, OUT named as one task"}
Parts = Iterator[tuple[Ready, Any]]  # of images in their order, with logits and embeddings, or the boxes in each


@dataclass
class Told:
    """What became of the images."""

    images: int = 0  # answered
    sure: int | None = None
    foreign: int | None = None  # out of distribution, where the calibration can tell
    refused: list[Refusal] = field(default_factory=list)


@dataclass(frozen=True)
class Model:
    """A model that is ready, how it is asked, and how its answers are written: `write(folder, parts, told)`."""

    card: Card | DetectorCard
    batch: int
    max_pixels: int
    letterbox: bool
    say: Callable[[Iterable[Ready]], Parts]
    write: Callable[[Path, Parts, Told], str]  # the name of the file
    about: dict[str, Any] = field(default_factory=dict)


def predict(model: Path, images: Path, calibration: Path | None = None, *, params: Params, out: Path) -> Path:
    """A model's folder (or file), new images and, of a classifier, its calibration -> predictions.csv (a row an image:
    the likeliest classes and their probabilities) or, of a detector, predictions.json (COCO, with scores); refused.csv
    (images that cannot be read, and why); predicted.json.

    IMAGES is a folder with all folders in it, one image, tar shards, or a CSV with the column image. Rows go by path,
    relative to IMAGES; copies are answered each. With a calibration probabilities are calibrated, `sure` says whether
    the class meets its threshold, and `label` repeats the class of those alone: beside the images, the file is a CSV
    that ingest.labelled takes once the rows without a label, of what is not sure, are taken out: `doctor` stops at
    them. Calibrated answers rest on the views that were calibrated. Where the calibration has a border
    (`calibrate.in_distribution`), what is beyond it is of none of the classes and never sure.

    Network, classes and image size are the model's own. A task like others, for it reads models and writes a folder;
    of params.yaml it needs `compute`, the batch (`evaluate`, `detection.evaluate`) and max_pixels (`ingest`), whatever
    data that file is of. No stage: nothing in the DAG depends on it.
    """
    _check_out(out, images)
    weights = _weights(model)
    kind = kind_of(weights)
    if kind not in KINDS:
        how = LABELS.get(kind, "the command that made it measures it")
        raise BadInput(f"{weights} is a model for {kind}, and predict answers with classes or boxes; {how}")
    there = scan_unasked(images)
    asked = KINDS[kind](weights, calibration, params)
    unseen = Unseen(there, asked.card.image_size, asked.batch, asked.max_pixels, asked.letterbox)
    told = Told(refused=list(there.refused))
    with Progress("predict", len(there.found)) as bar:
        parts = _watched(asked.say(read_unseen(unseen, workers=params.compute.workers)), told, bar)
        begun = _begun(parts, told, images)
        with whole(out) as folder:
            name = asked.write(folder, begun, told)
            _write_refused(folder / "refused.csv", told.refused)
            written = {"sheet": name, "sha256": sha256_of(folder / name)}
            write_json(folder / ABOUT, _about(asked, kind, told) | written)
    _tell(told, out / name)
    return out


def _check_out(out: Path, images: Path) -> None:
    """Raises BadInput where `out` is another command's or has been worked on, or would be among the images the next
    time."""
    held = sorted(path.name for path in out.iterdir()) if out.is_dir() else []
    if held and ABOUT not in held:
        raise BadInput(f"OUT is {out}, which holds {held[0]} and was not written by predict. Name another. {ORDER}")
    told = read_json(out / ABOUT) if held else {}
    sheet = out / told.get("sheet", "predictions.csv")
    if sheet.exists() and sha256_of(sheet) != told.get("sha256"):
        raise BadInput(f"somebody has changed {sheet}, which would be replaced. Name another OUT, or remove {out}")
    if images.is_dir() and out.resolve().is_relative_to(images.resolve()):
        raise BadInput(f"OUT is {out}, inside IMAGES ({images}), where the next run would look. Name one beside it")


def _weights(model: Path) -> Path:
    path = model / "model.safetensors" if model.is_dir() else model
    if not path.exists() and (missing := model / "unavailable.json").exists():
        raise BadInput(f"MODEL is {model}, where there is no model: {read_json(missing)['reason']}. Name another")
    if not path.exists() or path.suffix != ".safetensors":
        what = "which is no .safetensors" if path.exists() else "which holds no model.safetensors"
        raise BadInput(
            f"MODEL is {model}, {what}. Name a folder with a model.safetensors, such as work/judge or "
            f"registry/production (`dvc pull` fetches what DVC keeps), or that file. {ORDER}"
        )
    return path


def _classifier(weights: Path, calibration: Path | None, params: Params) -> Model:
    network, card = load_model(weights)
    rules = None if calibration is None else rules_of(weights, card, calibration)
    return Model(
        card, params.evaluate.batch, params.ingest.max_pixels, letterbox=False,
        say=partial(described_of, network, compute=params.compute, views=(rules or Rules()).looks),
        write=partial(_write_classes, card.classes, rules),
        about={} if rules is None else {"target_precision": rules.target_precision, "views": len(rules.looks)},
    )  # fmt: skip


def _detector(weights: Path, calibration: Path | None, params: Params) -> Model:
    if calibration is not None:
        raise BadInput(f"{weights} is a detector: its boxes keep their own scores. Leave {calibration} out")
    net, card = load_detector(weights)
    wanted = params.detection
    return Model(
        card, wanted.evaluate.batch, wanted.ingest.max_pixels, letterbox=True,
        say=partial(boxes_of, net, compute=params.compute), write=partial(_write_boxes, card.classes),
    )  # fmt: skip


KINDS: dict[str, Callable[[Path, Path | None, Params], Model]] = {"classification": _classifier, "detection": _detector}


def _watched(parts: Parts, told: Told, bar: Progress) -> Parts:
    """The parts that have images; `told` hears of all."""
    for ready, said in parts:
        told.refused += ready.refused
        told.images += len(ready.names)
        bar.update(len(ready.names) + len(ready.refused))
        if ready.names:
            yield ready, said


def _begun(parts: Parts, told: Told, images: Path) -> Parts:
    """All parts, of which the first is there: what is wrong with all images is known before OUT is begun."""
    first = next(parts, None)
    if first is None:
        such = f" ({told.refused[0].id.partition('/')[2]}: {told.refused[0].detail})" if told.refused else ""
        raise BadInput(
            f"IMAGES is {images}, which has no image that can be read{such}. Name a folder of images, an image, a .csv "
            f"or a .tar. {ORDER}"
        )
    return chain([first], parts)


def _write_classes(classes: list[str], rules: Rules | None, folder: Path, parts: Parts, told: Told) -> str:
    number = min(TOP, len(classes))
    more = [f"{name}_{place}" for place in range(2, number + 1) for name in ("class", "score")]
    with (folder / "predictions.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["image", "class", "score", *_promised(rules), *more])
        for ready, (said, embedded) in parts:
            probabilities = (rules or Rules()).soft(checked(said))
            top = np.argsort(-probabilities, axis=1, kind="stable")[:, :number]
            scores = np.take_along_axis(probabilities, top, axis=1)
            kept = _kept(rules, top[:, 0], scores[:, 0], embedded, classes, told)
            for place, name in enumerate(ready.names):
                pairs = [(classes[c], f"{s:.6f}") for c, s in zip(top[place], scores[place], strict=True)]
                writer.writerow([name, *pairs[0], *kept[place], *chain(*pairs[1:])])
    return "predictions.csv"


def _promised(rules: Rules | None) -> list[str]:
    """The columns that a calibration adds."""
    return [] if rules is None else ["sure", "label", *([FOREIGN] if rules.border.known else [])]


def _kept(
    rules: Rules | None, label: np.ndarray, score: np.ndarray, embedded: np.ndarray, classes: list[str], told: Told
) -> list[list[str]]:
    """The cells of those columns for some images, which `told` hears of: as pseudo_label decides."""
    if rules is None:
        return [[]] * len(label)
    distance = rules.border.distance(embedded)
    inside, sure = rules.border.inside(distance), rules.kept(label, score, distance)
    told.sure = (told.sure or 0) + int(sure.sum())
    rows = [["yes", classes[c]] if yes else ["no", ""] for c, yes in zip(label, sure, strict=True)]
    if rules.border.known is None:
        return rows
    told.foreign = (told.foreign or 0) + int((~inside).sum())
    return [[*row, "no" if near else "yes"] for row, near in zip(rows, inside, strict=True)]


def _write_boxes(classes: list[str], folder: Path, parts: Parts, told: Told) -> str:
    write_coco_found(folder / "predictions.json", _one_by_one(parts), classes)
    return "predictions.json"


def _one_by_one(parts: Parts) -> Iterator[tuple[str, tuple[int, int], Found]]:
    for ready, found in parts:
        yield from zip(ready.names, map(tuple, ready.sizes.tolist()), found, strict=True)


def _write_refused(path: Path, refused: list[Refusal]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["image", "reason", "detail"])
        for each in sorted(refused, key=lambda refusal: refusal.id):
            writer.writerow([each.id.partition("/")[2], each.reason, each.detail])


def _about(asked: Model, kind: str, told: Told) -> dict[str, Any]:
    card = asked.card
    counts = {"images": told.images, "refused": len(told.refused), "sure": told.sure, FOREIGN: told.foreign}
    return {"model": card.sha256, "kind": kind, "classes": card.classes, **counts, **asked.about}


def _tell(told: Told, path: Path) -> None:
    sure = "" if told.sure is None else f", {told.sure} of them sure"
    sure += "" if told.foreign is None else f", {told.foreign} of none of the classes"
    refused = f"; {len(told.refused)} refused, see {path.with_name('refused.csv')}" if told.refused else ""
    print(f"predict: {told.images} image(s) in {path}{sure}{refused}", flush=True)
