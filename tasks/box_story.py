"""What a report of detection tells: the lines that are compared, and what each round did. Read from the files."""

from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from tasks.box_answers import kept_boxes, read_found, read_store
from tasks.box_guard import OPINIONS
from tasks.box_pictures import BoxPool, pool_of
from tasks.box_signals import in_both
from tasks.fair import uneven
from tasks.io import read_json
from tasks.params import Params
from tasks.story import Counted, precision_of, read_curve
from tutelage.data.boxes import Found, Given, overlap
from tutelage.data.manifest import read_split
from tutelage.data.pseudo_boxes import by_people
from tutelage.metrics.box_matching import match
from tutelage.metrics.coco import widest
from tutelage.metrics.comparison import Interval

LINES = {
    "baseline": "supervised only",
    "candidate": "student",
    "oracle": "all-boxes oracle",
    "fused": "all rounds, fused",
}
ABOUT = {
    "baseline": "the same network, views and optimiser on the given boxes alone",
    "candidate": "what the rounds ended with",
    "oracle": "the same network with every hidden box: the ceiling",
    "fused": "the first teacher and all students as one detector, by weighted box fusion",
}


@dataclass(frozen=True)
class BoxLine:
    """A detector's result on the test split."""

    title: str
    about: str
    metrics: dict[str, Any]
    ap: Interval  # 95 % bootstrap over test images
    curves: dict[str, np.ndarray]  # by class: precision at overlap 0.5 over recall
    costs: dict[str, float | None]  # by kind of error: the AP50 that mending it gains

    @property
    def ar(self) -> float | None:
        """Mean recall."""
        return widest(self.metrics["ar"])


class Change(NamedTuple):
    """Kept boxes of a class that the round before did not have, and those of it that are gone."""

    added: int
    dropped: int


@dataclass(frozen=True)
class BoxRecord:
    """All that a round left behind."""

    number: int
    passed: str | None  # why no student was trained
    guard: dict[str, Any]
    calibration: dict[str, Any]
    store: pa.Table  # of pseudo-boxes, in the order of the pool
    classes: list[Counted]
    detected: list[Counted] | None  # as the detector named the boxes; None: nobody named them after it
    opinions: dict[int, Found]  # what the student finds in a sample of the pool, by place
    changes: list[Change] | None = None  # of the classes; None of the first round

    @property
    def kept(self) -> int:
        """Boxes."""
        return sum(one.kept for one in self.classes)

    @property
    def people(self) -> int:
        """Boxes of people, in labelled images in which nobody looked for some class."""
        return int(by_people(self.store).sum())

    @property
    def precision(self) -> float | None:
        """Of all kept boxes whose truth is known."""
        return precision_of(self.classes)

    @property
    def precision_detected(self) -> float | None:
        """Of the boxes that the detector kept, as it named them; None where nobody named them after it."""
        return None if self.detected is None else precision_of(self.detected)


@dataclass(frozen=True)
class BoxStory:
    """A whole run."""

    lines: dict[str, BoxLine]  # baseline, candidate; oracle and fused where there are such
    without_oracle: str  # why there is none, or ""
    rounds: list[BoxRecord]
    verdict: dict[str, Any]
    curves: dict[str, tuple[list[int], list[float]]]
    pool: BoxPool
    images: dict[str, int]  # by role
    uneven: list[str]  # what of the lines was not trained as long as the rounds


def read_box_story(work: Path, params: Params, *, side: int) -> BoxStory:
    """All that the stages left in `work`. Pictures of the pool are `side` pixels wide."""
    table = read_split(work / "split")
    pool = pool_of(work / "split", table, side=side, hidden=True)
    rounds = [_round(work / "rounds" / str(number), number, pool) for number in sorted(params.detection.rounds)]
    rounds[1:] = [replace(now, changes=changes_of(before, now)) for before, now in pairwise(rounds)]
    found = {name: _line(work / "evaluation" / name, name) for name in LINES}
    runs = {name: work / name for name in ("teacher", "baseline", "oracle")}
    runs |= {f"student {r.number}": work / "rounds" / str(r.number) / "student" for r in rounds if not r.passed}
    roles, counts = np.unique(table["role"].to_numpy(zero_copy_only=False), return_counts=True)
    return BoxStory(
        lines={name: line for name, line in found.items() if line is not None},
        without_oracle="" if found["oracle"] else read_json(work / "evaluation/oracle/metrics.json")["reason"],
        rounds=rounds,
        verdict=read_json(work / "judge/verdict.json"),
        curves={name: read_curve(folder) for name, folder in runs.items() if (folder / "curve.csv").exists()},
        pool=pool,
        images=dict(zip(roles.tolist(), counts.tolist(), strict=True)),
        uneven=uneven(params.detection, section="detection."),
    )


def count_boxes(store: pa.Table, rules: list[dict[str, Any]], truth: dict[int, Given]) -> list[Counted]:
    """Yield and, where the truth is known, precision (at overlap 0.5) of each class's kept boxes; of those on crowds
    nothing is known.
    """
    kept, checked, right = (np.zeros(len(rules), np.int64) for _ in range(3))
    for row, said in enumerate(kept_boxes(store, people=False)):
        np.add.at(kept, said.labels, 1)
        if row in truth:
            said = Found(*(column[~match(truth[row], said).ignored] for column in said))
            near = overlap(said.places, truth[row].places) * (said.labels[:, None] == truth[row].labels[None])
            np.add.at(checked, said.labels, 1)
            np.add.at(right, said.labels[near.max(axis=1, initial=0.0) >= 0.5], 1)
    columns = zip(rules, kept.tolist(), checked.tolist(), right.tolist(), strict=True)
    return [Counted(rule["name"], rule, *numbers) for rule, *numbers in columns]


def changes_of(before: BoxRecord, now: BoxRecord) -> list[Change]:
    """What came and went of each class; both stores are of the pool, in its order. A box that moved did both."""
    old, new = (kept_boxes(one.store, people=False) for one in (before, now))
    shared = np.bincount(in_both(old, new), minlength=len(now.classes))
    columns = zip(before.classes, now.classes, shared.tolist(), strict=True)
    return [Change(new.kept - both, old.kept - both) for old, new, both in columns]


def _round(folder: Path, number: int, pool: BoxPool) -> BoxRecord:
    note, calibration = folder / "student/passed.json", read_json(folder / "calibration/calibration.json")
    store = read_store(folder / "names")
    place = {name: row for row, name in enumerate(store["id"].to_pylist())}
    ids, said = read_found(folder / "guard", OPINIONS)
    rules, detected = calibration["classes"], None
    if (folder / "names/names.json").exists():
        detected = count_boxes(read_store(folder / "labels"), rules, pool.truth)
    return BoxRecord(
        number=number,
        passed=read_json(note)["reason"] if note.exists() else None,
        guard=read_json(folder / "guard/guard.json"),
        calibration=calibration,
        store=store,
        classes=count_boxes(store, rules, pool.truth),
        detected=detected,
        opinions={place[name]: one for name, one in zip(ids, said, strict=True)},
    )


def _line(folder: Path, name: str) -> BoxLine | None:
    """None where the evaluation had no detector."""
    metrics = read_json(folder / "metrics.json")
    if not metrics.get("available", True):
        return None
    ap = Interval(metrics["ap"], metrics["ap_low"], metrics["ap_high"])
    curves = {label: np.asarray(curve) for label, curve in read_json(folder / "curves.json").items()}
    return BoxLine(LINES[name], ABOUT[name], metrics, ap, curves, metrics["costs"])
