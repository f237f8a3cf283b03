"""Our detection against detectron2's own loops, as ratios in one run:  python -m benchmarks.detection [--kind KIND]

Training: images/s of `fit` over detectron2's SimpleTrainer (AMPTrainer on a GPU) on the same network, batch and boxes.
Labelling: images/s from JPEG files to rows of the store over detectron2's loader and `inference_on_dataset` on the same
files and network, without its evaluator, as it is (fp32) and in our precision; both may use `--workers` processes or
threads. Both sides take turns. Where detectron2 is not installed the other side is a
bare loop over torchvision's own detector of that kind, which is the nearest network and not the same.
"""

import argparse
import hashlib
import importlib.util
import itertools
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import torch
from accelerate import Accelerator

from benchmarks.rivals import (
    CLASSES,
    STILL,
    Scene,
    detectron2_inference,
    detectron2_trainer,
    torchvision_inference,
    torchvision_trainer,
)
from benchmarks.turns import take_turns
from tasks.box_merge import judge_boxes
from tutelage.data.batches import each_tensor
from tutelage.data.images import Images
from tutelage.data.manifest import SPLIT, describe
from tutelage.data.pseudo_boxes import to_table
from tutelage.data.scene_batches import no_pool
from tutelage.methods.detection.supervised import Supervised
from tutelage.models.detectors import INSTALL_DETECTRON2, DetectorSpec, create_detector
from tutelage.train.detect import detect_all
from tutelage.train.device import accelerator, precision
from tutelage.train.loop import begin, fit
from tutelage.train.settings import Compute, Optimiser
from tutelage.types import Boxes, SceneBatch, Scenes, Sizes

OBJECTS = 7  # an image
CONFIGS = {name: f"COCO-Detection/{name}_R_50_FPN_1x.yaml" for name in ("faster_rcnn", "retinanet")}
LEVELS = {"faster_rcnn": (4, 8, 16, 32, 64), "retinanet": (8, 16, 32, 64, 128)}  # R50-FPN as published
LONG = 1_000_000


def main() -> int:
    asked = arguments().parse_args()
    compute = Compute(threads=asked.threads, workers=asked.workers)
    engine = accelerator(compute)
    real = importlib.util.find_spec("detectron2") is not None
    low = precision(compute, cpu=engine.device.type == "cpu")
    print(f"{engine.device}, precision {low}, {torch.get_num_threads()} threads, {asked}", flush=True)
    if not real:
        print(f"detectron2 is not installed: against torchvision's nearest network instead. {INSTALL_DETECTRON2}")
    rival = "detectron2" if real else "torchvision"
    for kind in asked.kind or CONFIGS:
        train, label = (goals if real else "" for goals in (" (at least 1.0, goal 1.5)", " (goal 2)"))
        tell(f"{kind}: training over {rival}", training(kind, engine, asked, real=real), asked.batch, train)
        tell(f"{kind}: labelling over {rival}", labelling(kind, compute, asked, real=real), 1, label)
        if real and low != "no":
            times = labelling(kind, compute, asked, real=real, low=low)
            tell(f"{kind}: labelling over {rival} in {low} as well", times, 1, "")
    return 0


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kind", nargs="*", choices=list(CONFIGS), help="both if none is named")
    parser.add_argument("--size", type=int, default=128, help="pixels; published rates are of 640")
    parser.add_argument("--batch", type=int, default=4, help="images, an even number")
    parser.add_argument("--steps", type=int, default=2, help="of each side in a turn")
    parser.add_argument("--images", type=int, default=16, help="JPEG files to label")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workers", type=int, default=0, help="processes that read files, of each side that uses them")
    return parser


def tell(name: str, times: list[tuple[float, float]], images: int, goal: str) -> None:
    """The median ratio, and images/s of both sides; `images` of a unit that was timed."""
    ratio = statistics.median(theirs / ours for ours, theirs in times)
    ours, theirs = (images / statistics.median(side) for side in zip(*times, strict=True))
    print(f"{name}: {ratio:.2f}{goal}; {ours:.2f} and {theirs:.2f} images/s", flush=True)


def training(kind: str, engine: Accelerator, asked: argparse.Namespace, *, real: bool) -> list[tuple[float, float]]:
    """Seconds a step of ours and of theirs."""
    scene = noise(asked.batch, asked.size)
    torch.manual_seed(0)
    settings, net = Optimiser(lr=STILL), create_detector(spec(kind, asked.size, real=real), CLASSES)
    run = begin(Supervised(), net, None, Sizes(asked.batch, 0, CLASSES, LONG), settings)
    batch = scene_batch(scene)
    if engine.device.type == "cuda":
        batch = each_tensor(batch, torch.Tensor.pin_memory)  # as our loader hands it over

    def ours() -> int:
        feed = itertools.repeat(batch, asked.steps)
        return sum(1 for _ in fit(Supervised(), run, feed, settings, steps=LONG, accelerator=engine))

    torch.manual_seed(0)
    if real:
        rival = create_detector(spec(kind, asked.size, real=True), CLASSES)
        theirs = detectron2_trainer(rival, scene, engine, asked)
    else:
        theirs = torchvision_trainer(kind, scene, engine, asked)
    return take_turns(ours, theirs, turns=asked.turns)


def labelling(
    kind: str, compute: Compute, asked: argparse.Namespace, *, real: bool, low: str = "no"
) -> list[tuple[float, float]]:
    """Seconds an image of ours and of theirs in precision `low`, from files to boxes; ours writes them down too."""
    torch.manual_seed(0)
    net = create_detector(spec(kind, asked.size, real=real), CLASSES).to(accelerator(compute).device)
    with tempfile.TemporaryDirectory() as name:
        table = files(Path(name), asked.images, asked.size)
        rows, sizes = np.arange(asked.images), np.full((asked.images, 2), asked.size)
        rules = {"scale": 1.0, "shift": 0.0, "classes": [{"threshold": 0.5}] * CLASSES}

        def ours() -> int:
            images = Images.open(table, asked.size, letterbox=True)  # opened anew: nothing is decoded yet
            found = detect_all(net, images, rows, sizes, compute=compute, batch=asked.batch)
            said = [judge_boxes(one, rules) for one in found]
            return int(to_table(table["id"].to_pylist(), said, teacher="", number=1).num_rows)

        if real:
            theirs = detectron2_inference(net, Path(name), asked)
        else:
            device = next(net.parameters()).device
            theirs = torchvision_inference(kind, device, Path(name), asked)

        def in_precision() -> int:
            with torch.autocast(next(net.parameters()).device.type, torch.bfloat16, enabled=low == "bf16"):
                return theirs()

        return take_turns(ours, in_precision, turns=asked.turns)


def spec(kind: str, size: int, *, real: bool) -> DetectorSpec:
    if real:
        return DetectorSpec(kind="detectron2", config=CONFIGS[kind], image_size=size)
    made: Any = kind
    return DetectorSpec(
        kind=made, backbone="resnet50", levels=LEVELS[kind], channels=256, head_convs=4, image_size=size
    )


def noise(number: int, size: int) -> Scene:
    """The same images and boxes in every run."""
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (number, 3, size, size), dtype=torch.uint8, generator=draw)
    boxes = []
    for _ in range(number):
        low = 0.6 * size * torch.rand(OBJECTS, 2, generator=draw)
        places = torch.cat([low, low + size * (0.1 + 0.3 * torch.rand(OBJECTS, 2, generator=draw))], dim=1)
        one = torch.ones(OBJECTS)
        boxes.append(Boxes(places, torch.randint(0, CLASSES, (OBJECTS,), generator=draw), one, one))
    return Scene(images, boxes)


def scene_batch(scene: Scene) -> SceneBatch:
    """Half of the images as weak views, half as strong ones: `supervised` then learns from each once in a step."""
    half = len(scene.boxes) // 2
    weak, strong = ((scene.images[part], tuple(scene.boxes[part])) for part in (slice(half), slice(half, None)))
    known = torch.ones(half, CLASSES, dtype=torch.bool)
    return SceneBatch(Scenes(*weak, *strong, known), no_pool(scene.images.shape[-1]))


def files(folder: Path, number: int, size: int) -> pa.Table:
    """JPEG files of smooth noise, which compresses as photographs do, and the split that names them."""
    rng, rows = np.random.default_rng(0), []
    for place in range(number):
        coarse = rng.integers(0, 256, (size // 8, size // 8, 3), np.uint8)
        path = folder / f"{place:05d}.jpg"
        cv2.imwrite(str(path), cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC))
        content = path.read_bytes()
        row: dict[str, Any] = dict.fromkeys(SPLIT.names, "") | {"id": path.name, "path": path.name, "source": "files"}
        row |= {"sha256": hashlib.sha256(content).hexdigest(), "offset": 0, "length": len(content)}
        rows.append(row | {"width": size, "height": size, "role": "pool", "label": -1})
    return describe(
        pa.Table.from_pylist(rows, schema=SPLIT), roots={"files": str(folder)}, classes=list(map(str, range(CLASSES)))
    )


if __name__ == "__main__":
    sys.exit(main())
