"""What a teacher found in the pool: the store of `pseudo_labels` with a row of boxes an image.

Places are x1 y1 x2 y2 in pixels of the original image.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Float, Int, Shaped

from tutelage.data.boxes import Found, Given
from tutelage.data.pseudo_labels import Shards, check_classes, check_ids, check_weights, read_shards
from tutelage.types import BadInput

_NUMBERS = pa.list_(pa.float32())
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("task", pa.string()),
        ("boxes", pa.list_(pa.list_(pa.float32(), 4))),
        ("labels", pa.list_(pa.int32())),
        ("scores", _NUMBERS),
        ("calibrated", _NUMBERS),
        ("weights", _NUMBERS),
        ("place_weights", _NUMBERS),
        ("kept", pa.list_(pa.bool_())),
        ("reason", pa.list_(pa.string())),
        ("weight", pa.float32()),
        ("searched", pa.list_(pa.int32())),
        ("teacher", pa.string()),
        ("round", pa.int32()),
        ("view", pa.string()),
    ]
)


class Verdict(NamedTuple):
    """What is said of each box found in one image, and of the image."""

    found: Found
    calibrated: Float[np.ndarray, " k"]
    kept: Bool[np.ndarray, " k"]
    reason: Sequence[str]  # "" where kept
    weights: Float[np.ndarray, " k"]  # trust in the class
    place_weights: Float[np.ndarray, " k"]  # trust in the place
    weight: float = 1.0  # trust in the image as a whole
    searched: Sequence[int] = ()  # classes that a person looked for in the image: kept boxes of these are the person's


class Pseudo(NamedTuple):
    """The kept boxes of one image."""

    places: Float[np.ndarray, "k 4"]
    labels: Int[np.ndarray, " k"]
    weight: Float[np.ndarray, " k"]
    place_weight: Float[np.ndarray, " k"]


@dataclass(frozen=True)
class PseudoBoxes:
    """The kept boxes of `m` pool images, flat, so that a worker process gets few large arrays."""

    places: Float[np.ndarray, "t 4"]
    labels: Int[np.ndarray, " t"]
    weight: Float[np.ndarray, " t"]
    place_weight: Float[np.ndarray, " t"]
    ends: Int[np.ndarray, " _"]  # m + 1 numbers: boxes of image i are ends[i] to ends[i + 1]
    image_weight: Float[np.ndarray, " m"]  # 0: nobody labelled it

    @classmethod
    def none(cls, length: int) -> "PseudoBoxes":
        """A pool that nobody labelled yet."""
        empty = np.zeros(0, np.float32)
        ends, weight = np.zeros(length + 1, np.int64), np.zeros(length, np.float32)
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), empty, empty, ends, weight)

    def __len__(self) -> int:
        return len(self.image_weight)

    def __getitem__(self, place: int) -> Pseudo:
        """The boxes of the image at `place` in the pool."""
        if not 0 <= place < len(self):
            raise IndexError(place)
        mine = slice(int(self.ends[place]), int(self.ends[place + 1]))
        return Pseudo(self.places[mine], self.labels[mine], self.weight[mine], self.place_weight[mine])


def easiest(boxes: PseudoBoxes, scores: Sequence[Float[np.ndarray, " _"]], share: float) -> PseudoBoxes:
    """Only the easiest `share` of all images keep their weight: those whose kept boxes have the highest mean score.

    `scores` are those of each image's kept boxes. An image without a box is the hardest. Phase 1 of Wang Z. et al.,
    Data-Uncertainty Guided Multi-Phase Learning, CVPR 2021, https://arxiv.org/abs/2103.16368, which takes the mean
    score of proposals; this is what the authors' code takes.
    """
    sure = np.array([each.mean() if len(each) else -1.0 for each in scores])
    chosen = np.argsort(-sure, kind="stable")[: round(share * len(boxes))]
    weight = np.zeros_like(boxes.image_weight)
    weight[chosen] = boxes.image_weight[chosen]
    return replace(boxes, image_weight=weight)


def completed(said: Verdict, given: Given, known: Bool[np.ndarray, " c"]) -> Verdict:
    """What a person marked in an image, and what is said of boxes that were found beside it (boxes.unmarked).

    A group under one box is kept with a trust of 0: what lies there is neither an object nor background. The image
    counts where a person marked something, whatever was found.
    """
    trust = (~given.crowd).astype(np.float32)
    sure, kept = np.ones(len(trust), np.float32), np.ones(len(trust), bool)
    mine = (given.places, given.labels, sure, sure, kept, trust, trust)
    theirs = (*said.found, said.calibrated, said.kept, said.weights, said.place_weights)
    places, labels, scores, calibrated, keep, weights, place_weights = (
        np.concatenate([one, two]) for one, two in zip(mine, theirs, strict=True)
    )
    reason = [""] * len(trust) + list(said.reason)
    found = Found(places.astype(np.float32), labels, scores)
    searched = np.flatnonzero(known).tolist()
    return Verdict(
        found, calibrated, keep, reason, weights, place_weights, max(said.weight, float(trust.any())), searched
    )


def to_table(
    ids: Sequence[str], verdicts: Sequence[Verdict], *, teacher: str, number: int, view: str = "plain"
) -> pa.Table:
    """The rows of a shard: every image has one, and every found box is in it, kept or not."""
    rows = [
        {
            "id": name,
            "task": "detection",
            "boxes": said.found.places.tolist(),
            "labels": said.found.labels.tolist(),
            "scores": said.found.scores.tolist(),
            "calibrated": said.calibrated.tolist(),
            "weights": said.weights.tolist(),
            "place_weights": said.place_weights.tolist(),
            "kept": said.kept.tolist(),
            "reason": list(said.reason),
            "weight": said.weight,
            "searched": list(said.searched),
            "teacher": teacher,
            "round": number,
            "view": view,
        }
        for name, said in zip(ids, verdicts, strict=True)
    ]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def renamed(table: pa.Table, names: Iterator[str], answers: Iterator[Float[np.ndarray, " c1"]]) -> pa.Table:
    """Rows of a shard whose kept boxes have the class that `answers` give them: probabilities of the c classes, then of
    nothing. A box that is nothing is kept no longer; the trust in the class of another is how sure the answer is. What
    a person marked stays as it is, and of a class that a person looked for there is no more.

    `names` and `answers` go through the kept boxes of all shards, but for those of people; a name is the image's id, #,
    and the box's number. Raises BadInput where a name is another box's.
    """
    columns = table.to_pydict()
    for row, image in enumerate(columns["id"]):
        people = set(columns["searched"][row])
        boxes = zip(columns["kept"][row], columns["labels"][row], strict=True)
        kept = [place for place, (keep, label) in enumerate(boxes) if keep and label not in people]
        for number, place in enumerate(kept):
            if (name := next(names, None)) != f"{image}#{number}":
                raise BadInput(
                    f"the crops have {name} where the boxes have {image}#{number}. Run `dvc repro box_crops`"
                )
            chances = next(answers)
            label = int(np.where(np.isin(np.arange(len(chances)), list(people)), -1, chances).argmax())
            if label == len(chances) - 1:
                columns["kept"][row][place], columns["reason"][row][place] = False, "nothing"
                columns["weights"][row][place] = columns["place_weights"][row][place] = 0.0
            else:
                columns["labels"][row][place] = label
                columns["weights"][row][place] = float(chances[label] / (1 - chances[-1]))
        columns["weight"][row] = float(any(columns["kept"][row]))
    return pa.table(columns, schema=SCHEMA)


def write_manifest(folder: Path, classes: list[str], *, teacher: str, number: int) -> None:
    """Counts, without what people marked, and hashes of the shards in `folder`: what makes them a store. `number` is
    the round."""
    labelled = 0
    found, kept = (np.zeros(len(classes), np.int64) for _ in range(2))
    shards = Shards(folder, ["labels", "kept", "searched"])
    for table in shards:
        labels, people = flat(table["labels"], np.int64)[0], by_people(table)
        keep, ends = chosen(table["kept"], but=people)
        found += np.bincount(labels[~people], minlength=len(classes))
        kept += np.bincount(labels[keep], minlength=len(classes))
        labelled += int(np.count_nonzero(np.diff(ends)))
    counts = {
        "images_with_boxes": labelled,  # with a kept one
        "boxes": int(found.sum()),
        "kept": int(kept.sum()),
        "per_class": {
            name: {"found": int(found[place]), "kept": int(kept[place])} for place, name in enumerate(classes)
        },
    }
    shards.seal(counts, teacher=teacher, number=number)


def read_boxes_of(folder: Path, ids: list[str]) -> PseudoBoxes:
    """The kept boxes of the images `ids`, in their order. Raises BadInput when the store is of another pool, or is not
    what its manifest says."""
    columns = ["id", "boxes", "labels", "weights", "place_weights", "kept", "weight"]
    shards = [_of_shard(table) for table in read_shards(folder, columns)] if ids else []  # rejected boxes are many
    check_ids(folder, [name for names, _, _ in shards for name in names], ids)
    if not shards:
        return PseudoBoxes.none(0)
    places, labels, weight, place_weight = (
        np.concatenate(parts) for parts in zip(*(s[1] for s in shards), strict=True)
    )
    check_classes(folder, labels)
    if not all(np.isfinite(numbers).all() for numbers in (places, weight, place_weight)):
        raise BadInput(f"{folder} has kept boxes with a number that is not finite. Run `dvc repro` to label it again")
    counts, images = (np.concatenate(parts) for parts in zip(*(s[2] for s in shards), strict=True))
    check_weights(folder, weight, place_weight, images)
    return PseudoBoxes(places, labels, weight, place_weight, np.concatenate([[0], np.cumsum(counts)]), images)


def _of_shard(table: pa.Table) -> tuple[list[str], Pseudo, tuple[np.ndarray, np.ndarray]]:
    """Ids, kept boxes of all images, and of each image how many they are and its weight."""
    kept, ends = chosen(table["kept"])
    kinds = {"boxes": np.float32, "labels": np.int64, "weights": np.float32, "place_weights": np.float32}
    boxes = Pseudo(*(flat(table[name], kind)[0][kept] for name, kind in kinds.items()))
    return table["id"].to_pylist(), boxes, (np.diff(ends), table["weight"].to_numpy().astype(np.float32))


def flat(column: pa.ChunkedArray, kind: type[Any]) -> tuple[Shaped[np.ndarray, "t ..."], Int[np.ndarray, " _"]]:
    """The lists of n rows one after the other, numbers [t] or places [t, 4], and n + 1 numbers: where each row begins,
    and the last one ends.

    As a list of Python's a box takes hundreds of bytes, and a pool has millions of them.
    """
    ends = np.concatenate([[0], np.cumsum(pc.list_value_length(column).to_numpy())]).astype(np.int64)
    wide: tuple[int, ...] = ()
    column = _flattened(column)
    if pa.types.is_fixed_size_list(column.type):
        column, wide = _flattened(column), (column.type.list_size,)
    return column.to_numpy().astype(kind, copy=False).reshape(-1, *wide), ends


def by_people(table: pa.Table) -> Bool[np.ndarray, " t"]:
    """Which of the boxes of all rows (columns labels, kept and searched) a person marked: kept ones of a class that was
    searched for."""
    (labels, ends), (classes, starts) = (flat(table[name], np.int64) for name in ("labels", "searched"))
    if not len(classes):
        return np.zeros(len(labels), bool)
    span = 1 + max(labels.max(initial=0), classes.max())
    boxes, searched = (np.repeat(np.arange(table.num_rows), np.diff(each)) * span for each in (ends, starts))
    people: np.ndarray = np.isin(boxes + labels, searched + classes) & flat(table["kept"], np.bool_)[0]
    return people


def chosen(
    kept: pa.ChunkedArray, *, but: Bool[np.ndarray, " t"] | None = None
) -> tuple[Bool[np.ndarray, " t"], Int[np.ndarray, " _"]]:
    """Which of all boxes are kept, `but` for some, and the ends of each row's among those alone, as `flat` gives them
    of all."""
    keep, ends = flat(kept, np.bool_)
    keep = keep if but is None else keep & ~but
    return keep, np.concatenate([[0], np.cumsum(keep)])[ends]


def by_row(values: Shaped[np.ndarray, "t ..."], ends: Int[np.ndarray, " _"]) -> list[Shaped[np.ndarray, "k ..."]]:
    """What `flat` or `chosen` gave as one array a row: a part of the same memory."""
    return [values[first:end] for first, end in pairwise(ends.tolist())]


def _flattened(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pa.chunked_array([chunk.flatten() for chunk in column.chunks], type=column.type.value_type)
