"""Pool images worth a look: the surest, those at the threshold, the rejected, and those two models disagree on."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tasks.pictures import contact_sheet
from tasks.text import literal
from tasks.training import rows_of
from tutelage.data.images import Images
from tutelage.data.manifest import classes_by_id
from tutelage.data.pseudo_labels import beyond, foreign

_PIXELS = 96  # side of a thumbnail at most; small images keep their size


@dataclass(frozen=True)
class Shot:
    """An image with what was said of it."""

    image: np.ndarray  # [side, side, 3], uint8
    label: str
    score: float  # calibrated
    right: bool | None  # None: the truth is not known
    notes: list[str]  # "student: shirt", "truth: coat"


@dataclass(frozen=True)
class Strip:
    """A row of the gallery."""

    title: str
    about: str
    shots: list[Shot]


@dataclass(frozen=True)
class Pool:
    """The pool of a split, to draw pictures from."""

    table: pa.Table  # the pool's rows of the split
    truth: np.ndarray  # [n], -1 where it is not known
    classes: list[str]
    side: int  # pixels

    @classmethod
    def of(cls, split: pa.Table, truth: dict[str, int], classes: list[str]) -> "Pool":
        table = split.take(pa.array(rows_of(split, "pool")))
        known = classes_by_id(table, truth)
        side = int(np.median(table["width"].to_numpy())) if table.num_rows else _PIXELS
        return cls(table, known, classes, min(side, _PIXELS))


def strips(
    pool: Pool, labels: pa.Table, opinions: dict[str, int], before: np.ndarray | None, number: int
) -> list[Strip]:
    """Rows of at most `number` images; rows without any are left out.

    `labels` (id, label, calibrated, kept, distance, reason) are a round's, in the order of the pool; `opinions` its
    student's by id, of some images; `before` the labels of the round before.
    """
    label, score, kept = (labels[name].to_numpy() for name in ("label", "calibrated", "kept"))
    strange, full, distance = foreign(labels), beyond(labels), labels["distance"].to_numpy()
    left_out = ~kept & ~strange
    wrong = (pool.truth >= 0) & (pool.truth != label)
    said = np.array([opinions.get(name, -1) for name in labels["id"].to_pylist()], np.int64)
    before = label if before is None else before
    find = Finder(pool, label, score, number)
    found = [
        find("Surest", "kept, highest calibrated score of each class", _of_each_class(kept, label, -score)),
        find("At the threshold", "just kept, then just rejected", _edge(label, score, kept, left_out, number)),
        find("Beyond the quota", "surest of each class that has enough of surer ones",
             _of_each_class(full, label, -score)),
        find("Rejected", "least sure of each class: no label was given",
             _of_each_class(left_out & ~full, label, score)),
        find("Out of distribution", "farthest from all labelled images: no student sees them",
             _surest(strange, distance)),
        find("Just out of distribution", "nearest to the border: images of the classes are lost here",
             _surest(strange, -distance)),
        find("Kept by mistake", "surest labels that the hidden truth contradicts", _surest(kept & wrong, score)),
        find("Student disagrees", "sure labels of this round that its own student would not give",
             _surest(~strange & (said >= 0) & (said != label), score), "student", said),
        find("Changed its label", "sure labels that were others in the round before",
             _surest(~strange & (before != label), score), "before", before),
    ]  # fmt: skip
    return [strip for strip in found if strip.shots]


def sheet(strip: Strip, *, columns: int = 12, zoom: int = 2) -> str:
    """A strip as Markdown: one small picture, and what each image in it was called."""
    picture = contact_sheet([shot.image for shot in strip.shots], columns=columns, zoom=zoom)
    told = [" ".join([f"{s.label} {s.score:.2f}", *(f"({note})" for note in s.notes)]) for s in strip.shots]
    return f"**{strip.title}** ({strip.about})\n\n![{strip.title}]({picture})\n\n{literal('; '.join(told))}"


@dataclass(frozen=True)
class Finder:
    """Makes strips of one round's labels."""

    pool: Pool
    label: np.ndarray  # [n]
    score: np.ndarray  # [n]
    number: int  # images a strip

    def __call__(
        self, title: str, about: str, places: np.ndarray, who: str = "", other: np.ndarray | None = None
    ) -> Strip:
        """`other`: what `who` says of the same images."""
        places = places[: self.number]
        if not len(places):
            return Strip(title, about, [])
        images = Images.open(self.pool.table.take(pa.array(places)), self.pool.side, cache_bytes=0)
        return Strip(title, about, [self._shot(images[i], int(p), who, other) for i, p in enumerate(places)])

    def _shot(self, image: np.ndarray, place: int, who: str, other: np.ndarray | None) -> Shot:
        names, truth, label = self.pool.classes, int(self.pool.truth[place]), int(self.label[place])
        right = None if truth < 0 else truth == label
        notes = [f"{who}: {names[other[place]]}"] if other is not None else []
        notes += [f"truth: {names[truth]}"] if right is False else []
        return Shot(image, names[label], float(self.score[place]), right, notes)


def _edge(
    label: np.ndarray, score: np.ndarray, kept: np.ndarray, rejected: np.ndarray, number: int
) -> np.ndarray:  # fmt: skip
    """Half of `number` images just kept, half just rejected. A class's threshold, or quota, is seen where its kept
    labels end."""
    limit = np.full(int(label.max(initial=0)) + 1, np.inf)
    np.minimum.at(limit, label[kept], score[kept])
    distance = np.abs(score - limit[label])
    just_kept, just_rejected = (
        _of_each_class(some & np.isfinite(distance), label, distance) for some in (kept, rejected)
    )
    return np.concatenate([just_kept[: -(-number // 2)], just_rejected[: number // 2]])


def _surest(some: np.ndarray, score: np.ndarray) -> np.ndarray:
    places = np.flatnonzero(some)
    return places[(-score[places]).argsort(kind="stable")]


def _of_each_class(some: np.ndarray, label: np.ndarray, key: np.ndarray) -> np.ndarray:
    """Places of `some`, lowest key first, classes taking turns: one easy class would fill the row."""
    places = np.flatnonzero(some)
    places = places[key[places].argsort(kind="stable")]
    turn = np.zeros(len(places), np.int64)
    for name in np.unique(label[places]):
        mine = label[places] == name
        turn[mine] = np.arange(mine.sum())
    return places[turn.argsort(kind="stable")]
