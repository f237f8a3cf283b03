"""What a report of several tasks compares: the specialists as one, and each network for all tasks."""

from dataclasses import dataclass
from typing import Any

import numpy as np

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
    time: float  # measured, in times of all specialists together

    @property
    def mean(self) -> float | None:
        """Of the normalised scores; None where a specialist scores 0."""
        known = [share for share in self.normalised.values() if share is not None]
        return float(np.mean(known)) if len(known) == len(self.normalised) else None


def lines_of(metrics: dict[str, Any], tasks: list[Task], spent: dict[str, float]) -> dict[str, Line]:
    """The lines by name, from metrics.json of each network and the time that each needs."""
    own = {task: float(metrics[task]["scores"][task]) for task in tasks}
    together = {part: sum(metrics[task][part] for task in tasks) for part in ("parameters", "operations")}
    lines = {}
    for name, title in TITLES.items():
        scores = own if name == "specialists" else {task: float(metrics[name]["scores"][task]) for task in tasks}
        size = together if name == "specialists" else metrics[name]
        shares = {task: scores[task] / own[task] if own[task] else None for task in tasks}
        lines[name] = Line(title, scores, shares, size["parameters"], size["operations"], spent[name])
    return lines
