"""The loops that our detection is compared with: detectron2's own, or a bare one over torchvision's nearest network.

detectron2 is imported where it is used: without it only the others run.
"""

import argparse
import itertools
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from accelerate import Accelerator

from tutelage.types import Boxes, Detector

CLASSES = 10
STILL = 1e-8  # learning rate: networks that part propose other numbers of regions, which decide the time of a step
Work = Callable[[], int]


@dataclass(frozen=True)
class Scene:
    """Images of noise with boxes, as both sides see them."""

    images: torch.Tensor  # [n, 3, size, size], uint8
    boxes: list[Boxes]


def detectron2_trainer(net: Detector, scene: Scene, engine: Accelerator, asked: argparse.Namespace) -> Work:
    """detectron2's own training loop on its own network, fed what its own mapper would make, in our precision.

    Its trainer for bf16 wants a GPU.
    """
    from detectron2.engine import AMPTrainer, SimpleTrainer
    from detectron2.structures import Boxes as Rows
    from detectron2.structures import Instances
    from detectron2.utils.events import EventStorage

    network = _inside(net, engine.device)
    data = [
        {
            "image": image.flip(0),  # BGR, uint8, as its mapper gives it
            "instances": Instances((asked.size, asked.size), gt_boxes=Rows(one.places), gt_classes=one.labels),
        }
        for image, one in zip(scene.images, scene.boxes, strict=True)
    ]
    optimizer = torch.optim.SGD(network.parameters(), lr=STILL, momentum=0.9, nesterov=True, weight_decay=5e-4)
    low, feed = engine.device.type == "cuda", itertools.repeat(data)
    trainer = (
        AMPTrainer(network, feed, optimizer, precision=torch.bfloat16)
        if low
        else SimpleTrainer(network, feed, optimizer)
    )
    trainer.iter = 0

    def work() -> int:
        with EventStorage() as trainer.storage, nullcontext() if low else engine.autocast():
            for _ in range(asked.steps):
                trainer.run_step()
        return int(asked.steps)

    return work


def detectron2_inference(net: Detector, folder: Path, asked: argparse.Namespace) -> Work:
    """detectron2's own loader and loop on the same network and files."""
    from detectron2.data import DatasetMapper, build_detection_test_loader
    from detectron2.data.transforms import ResizeShortestEdge
    from detectron2.evaluation import inference_on_dataset

    network = _inside(net, next(net.parameters()).device)
    listed = [
        {"file_name": str(path), "height": asked.size, "width": asked.size, "image_id": number}
        for number, path in enumerate(sorted(folder.glob("*.jpg")))
    ]
    resize = ResizeShortestEdge([asked.size, asked.size], asked.size)
    mapper = DatasetMapper(is_train=False, augmentations=[resize], image_format="BGR")

    def work() -> int:
        loader = build_detection_test_loader(listed, mapper=mapper, batch_size=asked.batch, num_workers=asked.workers)
        inference_on_dataset(network.eval(), loader, None)
        return len(listed)

    return work


def _inside(net: Detector, device: torch.device) -> Any:
    """The network of detectron2 inside ours."""
    network: Any = net.net
    return network.to(device).train()


def torchvision_trainer(kind: str, scene: Scene, engine: Accelerator, asked: argparse.Namespace) -> Work:
    """The lines that anybody would write, on torchvision's R50-FPN detector of that kind."""
    net = _torchvision(kind, asked.size).to(engine.device).train()
    optimizer = torch.optim.SGD(net.parameters(), lr=STILL, momentum=0.9, nesterov=True, weight_decay=5e-4)
    labels = 1 if kind == "faster_rcnn" else 0  # class 0 is its background

    def work() -> int:
        for _ in range(asked.steps):
            images = list(scene.images.to(engine.device).float() / 255)
            targets = [
                {"boxes": one.places.to(engine.device), "labels": one.labels.to(engine.device) + labels}
                for one in scene.boxes
            ]
            with engine.autocast():
                loss = sum(net(images, targets).values())
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            loss.item()
        return int(asked.steps)

    return work


def _rgb(path: Path) -> np.ndarray:
    """Pixels of an image file, [h, w, 3]."""
    found = cv2.imread(str(path))
    assert found is not None, f"{path} is no image"
    return found[:, :, ::-1].copy()


def torchvision_inference(kind: str, device: torch.device, folder: Path, asked: argparse.Namespace) -> Work:
    """Files read one after the other, and passes over batches of them."""
    network, paths = _torchvision(kind, asked.size).to(device).eval(), sorted(folder.glob("*.jpg"))

    @torch.inference_mode()
    def work() -> int:
        for start in range(0, len(paths), asked.batch):
            pixels = [_rgb(path) for path in paths[start : start + asked.batch]]
            network([torch.from_numpy(each).permute(2, 0, 1).to(device).float() / 255 for each in pixels])
        return len(paths)

    return work


def _torchvision(kind: str, size: int) -> Any:
    from torchvision.models import detection

    make = {"faster_rcnn": detection.fasterrcnn_resnet50_fpn, "retinanet": detection.retinanet_resnet50_fpn}[kind]
    number = CLASSES + (kind == "faster_rcnn")
    return make(weights=None, weights_backbone=None, num_classes=number, min_size=size, max_size=size)
