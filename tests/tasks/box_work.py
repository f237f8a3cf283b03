"""Detection on small files: params of a few steps, a split of 8 labelled images, 7 of the pool and 4 of the test."""

import dataclasses

from project import known
from scene_work import coco_set

from tasks.box_calibrate import box_calibrate
from tasks.box_crops import box_crops
from tasks.box_label import box_label
from tasks.box_names import box_names
from tasks.detector import detector
from tasks.scenes_ingest import scenes_ingest
from tasks.scenes_split import scenes_split


def small(params, **changes):
    """The repository's params with runs of a few steps on small images."""
    found = params.detection
    runs = {
        name: dataclasses.replace(found.baseline, steps=4, labelled_batch=4)
        for name in ("teacher", "baseline", "oracle")
    }
    trusted = {
        "ingest": dataclasses.replace(found.ingest, root="images", labelled="labelled.json", pool="pool.json"),
        "split": dataclasses.replace(found.split, holdout=0.25),
        # Every box is kept: without a probe of the pool no two components part.
        "calibrate": dataclasses.replace(found.calibrate, rule="mixture", floor=0.0, cap=0.0, probe=0),
    }
    detection = dataclasses.replace(
        found,
        network=dataclasses.replace(
            found.network, width=8, channels=8, image_size=32, levels=(4, 8), score_floor=0.0, max_detections=10
        ),
        evaluate=dataclasses.replace(found.evaluate, max_detections=10),
        student=dataclasses.replace(found.student, steps=4, labelled_batch=2, pool_batch=2),
        label=dataclasses.replace(found.label, shard_size=3, batch=2),
        names=dataclasses.replace(
            found.names,
            network=dataclasses.replace(found.names.network, width=8, image_size=12),
            train=dataclasses.replace(found.names.train, steps=3, labelled_batch=4, pool_batch=4),
        ),
        judge=dataclasses.replace(found.judge, resamples=20),
        **(runs | trusted | changes),
    )
    compute = dataclasses.replace(params.compute, workers=0, device="cpu", threads=1)
    return dataclasses.replace(params, detection=detection, compute=compute)


def prepare(root, **changes):
    """The split and a teacher, in the working directory `root`: params and the folder."""
    params = small(known(), **changes)
    for name, number, start in (("labelled", 8, 0), ("pool", 7, 20), ("test", 4, 40)):
        coco_set(root / "images", name, number, start=start)
    folder = root / "work/detection"
    ingested = scenes_ingest(root / "images", params=params, out=folder / "ingest")
    scenes_split(ingested, params=params, out=folder / "split")
    detector(folder / "split", params=params, out=folder / "teacher")
    return params, folder


def labelled(params, folder, out):
    calibration = box_calibrate(folder / "split", folder / "teacher", params=params, out=out.parent / "calibration")
    return box_label(folder / "split", folder / "teacher", calibration, params=params, out=out)


def named(params, folder, labels):
    """The boxes of `labels`, named by a classifier of a few steps."""
    crops = box_crops(folder / "split", labels, params=params, out=labels.parent / "crops")
    return box_names(labels, crops, params=params, out=labels.parent / "names")
