"""What a report of several tasks compares: the specialists as one, and each network for all tasks."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tasks.fair import uneven_pair
from tasks.multi_params import Multitask
from tutelage.types import Task

TITLES = {"specialists": "specialists, together", "union": "all true labels, no pool", "student": "student"}


@dataclass(frozen=True)
class Line:
    """The specialists as one, or one network for all tasks."""

    title: str
    scores: dict[Task, float]  # as multi_evaluate
    normalised: dict[Task, float | None]  # shares of the specialist's score; None where that is 0
    parameters: int
    operations: int  # an image

    @property
    def mean(self) -> float | None:
        """Of the normalised scores; None where a specialist scores 0."""
        known = [share for share in self.normalised.values() if share is not None]
        return float(np.mean(known)) if len(known) == len(self.normalised) else None


def notes(metrics: Mapping[str, Any], wanted: Multitask) -> list[str]:
    """What is to be known of the lines, in sentences; none where all is even."""
    student = metrics["student"]
    few = "depth" in student["scores"] and student["with_depth"] < student["images"]
    told = f"Depth is measured on {student['with_depth']:,} of {student['images']:,} test images: the others have none."
    return [told] * few + uneven(wanted)


def uneven(wanted: Multitask) -> list[str]:
    """A sentence for each way in which the student saw more or less of the true labels than the union; else none."""
    ours, theirs = wanted.student, wanted.union
    found = uneven_pair(ours, theirs, section="multitask", names=("student", "union"), whose="the specialists'")
    if wanted.split.holdout and ours.learns_holdout != theirs.holdout:
        one, other = ("student", "union") if ours.learns_holdout else ("union", "student")
        same = str(ours.learns_holdout).lower()
        found += [
            f"Unequal training: multitask.{one} learns from the hold-out, multitask.{other} does not, so not all of "
            f"the difference is the specialists'. Write multitask.union.holdout: {same} for a fair comparison."
        ]
    return found


def lines_of(metrics: dict[str, Any], tasks: list[Task]) -> dict[str, Line]:
    """The lines by name, from metrics.json of each network."""
    own = {task: float(metrics[task]["scores"][task]) for task in tasks}
    together = {part: sum(metrics[task][part] for task in tasks) for part in ("parameters", "operations")}
    lines = {}
    for name, title in TITLES.items():
        scores = own if name == "specialists" else {task: float(metrics[name]["scores"][task]) for task in tasks}
        size = together if name == "specialists" else metrics[name]
        shares = {task: scores[task] / own[task] if own[task] else None for task in tasks}
        lines[name] = Line(title, scores, shares, size["parameters"], size["operations"])
    return lines
