"""What a report tells: the lines that are compared, and what each round did. Read from the files of `work/`."""

import csv
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.answers import Answers, read_answers
from tasks.fair import uneven
from tasks.io import read_json
from tasks.params import Params
from tutelage.data.groups import units_of
from tutelage.data.manifest import classes_by_id, read_truth
from tutelage.data.pseudo_labels import beyond, foreign, read_table
from tutelage.metrics.comparison import Interval, accuracy_interval
from tutelage.types import BadInput

RESAMPLES = 2000


@dataclass(frozen=True)
class Line:
    """A model's result on the test split."""

    title: str
    model: str  # sha256
    metrics: dict[str, Any]
    answers: Answers
    error: Interval  # 95 % bootstrap over test images


@dataclass(frozen=True)
class Counted:
    """What became of the pseudo-labels, or pseudo-boxes, of one class."""

    name: str
    rule: dict[str, Any]  # its entry in calibration.json
    kept: int
    checked: int  # of the kept, those whose hidden truth is known
    right: int  # of the checked

    @property
    def precision(self) -> float | None:
        """Of the kept; None where no truth is known."""
        return precision_of([self])


def precision_of(classes: Sequence[Counted]) -> float | None:
    """Of all that was kept and whose truth is known; None where it is of none."""
    checked = sum(one.checked for one in classes)
    return sum(one.right for one in classes) / checked if checked else None


@dataclass(frozen=True)
class ClassLabels(Counted):
    """What became of the pseudo-labels of one class."""

    predicted: int


@dataclass(frozen=True)
class Some:
    """Some labels of a round."""

    number: int
    precision: float | None  # None where no truth is known


@dataclass(frozen=True)
class Changes:
    """The kept labels of a round beside those of the round before."""

    added: Some
    dropped: Some  # as they were
    changed: Some  # kept in both, now of another class


@dataclass(frozen=True)
class RoundRecord:
    """All that a round left behind."""

    number: int
    student: Line
    passed: str | None  # why no student was trained
    guard: dict[str, Any]
    calibration: dict[str, Any]
    labels: pa.Table  # id, label, calibrated, kept, distance, reason
    classes: list[ClassLabels]
    opinions: dict[str, int]  # the student's label of a sample of the pool, by id
    changes: Changes | None = None  # None of the first round

    @property
    def kept(self) -> float | None:
        """Share of the pool; None where there is no pool."""
        return sum(c.kept for c in self.classes) / self.labels.num_rows if self.labels.num_rows else None

    @property
    def foreign(self) -> int:
        """Images of the pool that are out of distribution."""
        return int(foreign(self.labels).sum())

    @property
    def beyond(self) -> int:
        """Images of the pool that a quota leaves out."""
        return int(beyond(self.labels).sum())

    @property
    def precision(self) -> float | None:
        """Of all kept labels whose truth is known."""
        return precision_of(self.classes)

    @property
    def on_target(self) -> tuple[int, int]:
        """Classes whose kept labels meet the target precision, and classes where that is known."""
        known = [c.precision for c in self.classes if c.precision is not None]
        return sum(p >= self.calibration["target_precision"] for p in known), len(known)


@dataclass(frozen=True)
class Story:
    """A whole run."""

    teacher: Line
    baseline: Line
    candidate: Line
    oracle: Line | None
    without_oracle: str  # why there is none, or ""
    rounds: list[RoundRecord]
    verdict: dict[str, Any]
    curves: dict[str, tuple[list[int], list[float]]]
    uneven: list[str]  # what of the lines was not trained as long as the rounds

    @property
    def lines(self) -> list[Line]:
        """The three lines every gain is read against; two where there is no oracle."""
        return [line for line in (self.baseline, self.candidate, self.oracle) if line is not None]


def read_story(work: Path, params: Params) -> Story:
    """All that the stages left in `work`."""
    truth, groups = read_truth(work / "split"), params.split.groups
    rounds = [read_round(work / "rounds" / str(number), number, truth, groups) for number in sorted(params.rounds)]
    rounds = rounds[:1] + [
        replace(record, changes=changes_of(last.labels, record.labels, truth))
        for last, record in itertools.pairwise(rounds)
    ]
    verdict = read_json(work / "judge" / "verdict.json")
    _same_models(work, verdict["digests"])
    teacher = _model(work / "evaluation" / "teacher", "first teacher", groups)
    candidate = _model(work / "evaluation" / "candidate", "", groups)
    oracle = read_line(work / "evaluation" / "oracle", "all-labels oracle", groups)
    return Story(
        teacher=teacher,
        baseline=_model(work / "evaluation" / "baseline", "supervised only", groups),
        candidate=replace(candidate, title=candidate_title(candidate.model, teacher, rounds, verdict["promote"])),
        oracle=oracle,
        without_oracle="" if oracle else read_json(work / "evaluation" / "oracle" / "metrics.json")["reason"],
        rounds=rounds,
        verdict=verdict,
        curves=read_curves(work, rounds),
        uneven=uneven(params),
    )


def _same_models(work: Path, judged: dict[str, str]) -> None:
    """BadInput where the tests are of other models than the verdict."""
    for name in ("candidate", "baseline"):
        folder = work / "evaluation" / name
        tested = read_json(folder / "metrics.json")["model"]
        if tested != judged[name]:
            raise BadInput(
                f"{folder} tested another model ({tested[:12]}) than {work / 'judge'} judged ({judged[name][:12]}). "
                "Run `dvc repro report` to make both anew"
            )


def _model(folder: Path, title: str, groups: str | None) -> Line:
    line = read_line(folder, title, groups)
    assert line is not None, f"{folder} evaluated no model"
    return line


def read_line(folder: Path, title: str, groups: str | None) -> Line | None:
    """None where the evaluation had no model. `groups` as split.groups."""
    metrics = read_json(folder / "metrics.json")
    if not metrics.get("available", True):
        return None
    answers = read_answers(folder)
    units = units_of(answers.ids, groups)
    right = accuracy_interval(answers.right[None], resamples=RESAMPLES, seed=0, units=units)
    error = Interval(1 - right.estimate, 1 - right.high, 1 - right.low)
    return Line(title, metrics["model"], metrics, answers, error)


def read_round(folder: Path, number: int, truth: dict[str, int], groups: str | None) -> RoundRecord:
    student = _model(folder / "evaluation", f"student of round {number}", groups)
    note = folder / "student" / "passed.json"
    calibration = read_json(folder / "calibration" / "calibration.json")
    if not (folder / "labels" / "manifest.json").exists():
        raise BadInput(f"{folder / 'labels'} has no manifest.json: it is no whole store. Run `dvc repro report`")
    labels = read_table(folder / "labels", ["id", "label", "calibrated", "kept", "distance", "reason"])
    opinions = read_opinions(folder / "guard" / "opinions.parquet")
    return RoundRecord(
        number=number,
        student=student,
        passed=read_json(note)["reason"] if note.exists() else None,
        guard=read_json(folder / "guard" / "guard.json"),
        calibration=calibration,
        labels=labels,
        classes=count_labels(labels, calibration["classes"], truth),
        opinions=opinions,
    )


def read_opinions(path: Path) -> dict[str, int]:
    table = pq.read_table(path)
    return dict(zip(table["id"].to_pylist(), table["label"].to_pylist(), strict=True))


def count_labels(labels: pa.Table, rules: list[dict[str, Any]], truth: dict[str, int]) -> list[ClassLabels]:
    """Yield and, where the truth is known, precision of each class's pseudo-labels."""
    label, kept = labels["label"].to_numpy(), labels["kept"].to_numpy()
    known = classes_by_id(labels, truth)
    counted = []
    for place, rule in enumerate(rules):
        mine = label == place
        taken = mine & kept
        checked = taken & (known >= 0)
        counts = (int(x.sum()) for x in (taken, checked, checked & (known == place), mine))
        counted.append(ClassLabels(rule["name"], rule, *counts))
    return counted


def changes_of(before: pa.Table, now: pa.Table, truth: dict[str, int]) -> Changes:
    """Which labels (id, label, kept) came and went; both tables are of the pool, in its order."""
    label, kept = ([table[name].to_numpy() for table in (before, now)] for name in ("label", "kept"))
    known = classes_by_id(now, truth)

    def some(places: np.ndarray, named: np.ndarray) -> Some:
        checked = places & (known >= 0)
        return Some(int(places.sum()), float((named == known)[checked].mean()) if checked.any() else None)

    return Changes(
        added=some(kept[1] & ~kept[0], label[1]),
        dropped=some(kept[0] & ~kept[1], label[0]),
        changed=some(kept[0] & kept[1] & (label[0] != label[1]), label[1]),
    )


def candidate_title(model: str, teacher: Line, rounds: list[RoundRecord], promoted: bool) -> str:
    """Which model the rounds ended with, and whether it was promoted."""
    students = [record.number for record in rounds if record.student.model == model and record.passed is None]
    if students:
        return f"student of round {students[-1]} ({'promoted' if promoted else 'not promoted'})"
    if model == teacher.model:
        return "the first teacher (no student was accepted)"
    return f"the model the rounds ended with ({'promoted' if promoted else 'not promoted'})"


def read_curves(work: Path, rounds: list[RoundRecord]) -> dict[str, tuple[list[int], list[float]]]:
    """Training loss of every run that left a curve, by name."""
    folders = {name: work / name for name in ("teacher", "baseline", "oracle")}
    folders |= {f"student {r.number}": work / "rounds" / str(r.number) / "student" for r in rounds if not r.passed}
    return {name: read_curve(folder) for name, folder in folders.items() if (folder / "curve.csv").exists()}


def read_curve(folder: Path) -> tuple[list[int], list[float]]:
    """Steps and losses of a run that left its curve there."""
    with (folder / "curve.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [int(row["step"]) for row in rows], [float(row["loss"]) for row in rows]


def curve_rows(curves: dict[str, tuple[list[int], list[float]]]) -> Iterator[dict[str, Any]]:
    """curves.csv: one row a point, which names the line that it is on."""
    for name, (steps, losses) in curves.items():
        for step, loss in zip(steps, losses, strict=True):
            yield {"line": name, "step": step, "loss": loss}
