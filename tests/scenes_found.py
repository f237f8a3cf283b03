"""Made-up scenes, and what a made-up detector finds in them."""

import numpy as np

from tutelage.data.boxes import Found, Given

CLASSES = ["cat", "dog", "hen"]


def given(places, labels, crowd=None, area=None):
    places = np.array(places, np.float32).reshape(-1, 4)
    own = (places[:, 2:] - places[:, :2]).prod(1)
    return Given(
        places,
        np.array(labels, np.int64),
        np.zeros(len(places), bool) if crowd is None else np.array(crowd, bool),
        own if area is None else np.array(area, np.float32),
    )


def found(places, labels, scores):
    return Found(np.array(places, np.float32).reshape(-1, 4), np.array(labels, np.int64), np.array(scores, np.float32))


def nothing_given():
    return given([], [])


def nothing_found():
    return found([], [], [])


def random_scenes(seed, images=30, *, crowds=True, classes=3):
    """Objects of all three of COCO's sizes; some images have none."""
    rng = np.random.default_rng(seed)
    scenes = []
    for _ in range(images):
        k = int(rng.integers(0, 7))
        corner, side = rng.uniform(0, 300, (k, 2)), rng.choice([12, 50, 150], (k, 1)) * rng.uniform(0.7, 1.3, (k, 2))
        crowd = rng.random(k) < 0.15 if crowds else np.zeros(k, bool)
        places = np.concatenate([corner, corner + side], 1)
        scenes.append(given(places, rng.integers(0, classes, k), crowd, side.prod(1) * rng.uniform(0.5, 1, k)))
    return scenes


def guesses(scenes, seed, *, noise=0.08, missed=0.2, spurious=3, classes=3):
    """Boxes near the objects, some twice, some of another class, some anywhere. Many scores are equal."""
    rng = np.random.default_rng(seed)
    answers = []
    for scene in scenes:
        seen = np.repeat(np.flatnonzero(rng.random(len(scene.labels)) >= missed), rng.integers(1, 3))
        places = scene.places[seen]
        side = np.tile(places[:, 2:] - places[:, :2], 2)
        places = places + rng.normal(0, noise, places.shape) * side
        labels = np.where(rng.random(len(seen)) < 0.15, rng.integers(0, classes, len(seen)), scene.labels[seen])
        extra = int(rng.integers(0, spurious + 1))
        corner = rng.uniform(0, 300, (extra, 2))
        places = np.concatenate([places, np.concatenate([corner, corner + rng.uniform(5, 120, (extra, 2))], 1)])
        labels = np.concatenate([labels, rng.integers(0, classes, extra)])
        scores = rng.uniform(0.3, 1, len(labels)) * np.r_[np.ones(len(seen)), np.full(extra, 0.8)]
        order = np.argsort(-scores.round(2), kind="stable")
        answers.append(found(places[order], labels[order], scores.round(2)[order]))
    return answers
