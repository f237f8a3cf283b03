"""Images as a user has them, and params that name them."""

import io
from dataclasses import replace

import cv2
import numpy as np
from PIL import Image
from project import known

PARAMS = known()


def params(*, seed=0, split=None, **ingest):
    """params.yaml for images in train/ (and what else `ingest` names)."""
    wanted = {"labelled": "train", "pool": None, "test": None, "leaks": "refuse"} | ingest
    budget = {"labels_per_class": None, "holdout": 0.25, "test_fraction": 0.2} | (split or {})
    return replace(PARAMS, seed=seed, ingest=replace(PARAMS.ingest, **wanted), split=replace(PARAMS.split, **budget))


def picture(seed, size=16):
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return cv2.resize(coarse, (size, size), interpolation=cv2.INTER_LINEAR)


def save(path, seed=0, size=16, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    stream = io.BytesIO()
    Image.fromarray(picture(seed, size)).save(
        stream, "JPEG" if path.suffix == ".jpg" else path.suffix[1:].upper(), **options
    )
    path.write_bytes(stream.getvalue())
    return path


def class_folders(root, *, cats=8, dogs=8, start=0):
    """train/cat and train/dog of pictures that are all different, and test/ with three of each."""
    for name, number, first in (("cat", cats, 0), ("dog", dogs, 1000)):
        for place in range(number):
            save(root / "train" / name / f"{place:02d}.png", start + first + place)
        for place in range(3):
            save(root / "test" / name / f"{place:02d}.png", start + first + 500 + place)
    return root
