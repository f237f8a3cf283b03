"""Params of the detection stages, and small COCO data as a user has it."""

import json
from types import SimpleNamespace

from own_images import save

from tasks.box_params import CalibrateBoxes, Compose, ScenesIngest, ScenesSplit


def detection(
    *, seed=0, compose=None, split=None, image_size=16, max_detections=100, rule="count", slices=None, **ingest
):
    """What the stages read of params.yaml."""
    return SimpleNamespace(
        seed=seed,
        detection=SimpleNamespace(
            compose=Compose(**(compose or {})),
            ingest=ScenesIngest(**({"root": "unused", "labelled": "labelled.json"} | ingest)),
            split=ScenesSplit(**(split or {})),
            calibrate=CalibrateBoxes(rule=rule),
            judge=SimpleNamespace(slices=slices),
            network=SimpleNamespace(image_size=image_size, max_detections=max_detections),
        ),
    )


def coco_set(root, name, number, *, start=0, classes=("cat", "dog"), bare=(), **image):
    """NAME.json of 16 x 16 pictures in NAME/, each with one object of each class; none in those of `bare`."""
    content = {
        "images": [],
        "annotations": [],
        "categories": [{"id": 10 * n, "name": c} for n, c in enumerate(classes, 1)],
    }
    for place in range(number):
        save(root / name / f"{place:02d}.png", start + place)
        content["images"].append(
            {"id": place, "file_name": f"{name}/{place:02d}.png", "width": 16, "height": 16} | image
        )
        for label in range(0 if place in bare else len(classes)):
            content["annotations"].append(
                {"id": len(content["annotations"]), "image_id": place, "category_id": 10 * (label + 1),
                 "bbox": [label, 2, 6, 4 + label]}
            )  # fmt: skip
    write(root, name, content)
    return content


def write(root, name, content):
    (root / f"{name}.json").write_text(json.dumps(content))
