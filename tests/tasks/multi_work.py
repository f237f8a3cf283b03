"""Several tasks on small files: scenes with boxes, masks and depth, and params of a few steps."""

import dataclasses
from pathlib import Path

import cv2
import numpy as np
from box_work import small
from project import known
from scene_work import coco_set, write

from tasks.multi_label import multi_label
from tasks.multi_split import multi_split
from tasks.multi_teacher import multi_teacher
from tasks.scenes_ingest import scenes_ingest
from tasks.scenes_split import scenes_split
from tutelage.models.detectors import DetectorSpec
from tutelage.models.multi_spec import MultiSpec
from tutelage.types import TASKS

FOLDER = Path("work/multitask")
SPLIT, SHARES = Path("work/detection/split"), FOLDER / "shares"


def params_of(tasks=TASKS):
    """Everything a teacher says is believed, so that no test hangs on what 3 steps teach."""
    params = small(known())
    found = params.multitask
    detector = DetectorSpec(
        width=8, channels=8, head_convs=1, image_size=32, levels=(4, 8), score_floor=0.0, max_detections=5
    )
    run = {"steps": 3, "labelled_batch": 2}
    multitask = dataclasses.replace(
        found, tasks=list(tasks), start=None, network=MultiSpec(detector=detector, dense_width=8),
        teacher=dataclasses.replace(found.teacher, **run), union=dataclasses.replace(found.union, **run),
        student=dataclasses.replace(found.student, pool_batch=2, hears=None, **run),
        label=dataclasses.replace(
            found.label, box_score=0.0, box_doubt=0.0, pixel_confidence=0.0, shard_size=3, batch=2
        ),
        report=dataclasses.replace(found.report, gallery=2),
    )  # fmt: skip
    ingest = dataclasses.replace(params.detection.ingest, test="test.json", root="images")
    return dataclasses.replace(
        params, multitask=multitask, detection=dataclasses.replace(params.detection, ingest=ingest)
    )


def scenes(root, name, number, *, start, masks=True, depth=True, classes=True):
    """NAME.json as coco_set, its boxes filled masks, and a slope of 1 to 2 m as depth of each image."""
    content = coco_set(root, name, number, start=start)
    for each in content["annotations"] if masks else []:
        x, y, w, h = each["bbox"]
        each["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
    slope = np.tile(np.linspace(1000, 2000, 16), (16, 1)).astype(np.uint16)
    for image in content["images"] if depth else []:
        image["depth"] = f"depth-{name}-{image['id']}.png"
        cv2.imwrite(str(root / image["depth"]), slope)
    write(root, name, content if classes else content | {"annotations": [], "categories": []})


def prepare(root, tasks=TASKS, *, params=None, **kinds):
    """Shares of 8 labelled scenes in the working directory `root`, beside a pool of 7 and a test of 4: the params."""
    params = params or params_of(tasks)
    for name, number, start in (("labelled", 8, 0), ("pool", 7, 20), ("test", 4, 40)):
        scenes(root / "images", name, number, start=start, **kinds)
    scenes_split(
        scenes_ingest(Path("images"), params=params, out=Path("work/detection/ingest")), params=params, out=SPLIT
    )
    multi_split(Path("images"), SPLIT, params=params, out=SHARES)
    return params


def taught(params, *tasks):
    """Specialists and what they say of the pool."""
    for task in tasks:
        teacher = multi_teacher(SPLIT, SHARES, params=params, out=FOLDER / "teachers" / task)
        multi_label(SPLIT, teacher, params=params, out=FOLDER / "labels" / task)
