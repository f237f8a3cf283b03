"""What a calibration says of a model's answers, for whoever asks the model: which views, what a score is worth, from
which one on a label is kept, and what is of none of the classes."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tasks.distribution import NOWHERE, Border, border_of
from tasks.training import calibration_of
from tutelage.metrics.calibration import aligned, calibrated
from tutelage.models.files import Card
from tutelage.train.predict import Look, looks


@dataclass(frozen=True)
class Rules:
    """What calibrate wrote of a model. As it stands here: of a model without a calibration."""

    teacher: str = ""  # sha256 of the model
    temperature: float = 1.0
    alignment: tuple[float, ...] | None = None  # a factor a class
    limits: tuple[float, ...] = ()  # of the calibrated score, from which a class's label is kept; inf: none is
    target_precision: float = 0.0
    views: int = 1
    flip: bool = False
    border: Border = NOWHERE

    @property
    def looks(self) -> list[Look]:
        """The views whose mean answer was calibrated: thresholds say nothing of the answers to others."""
        return looks(self.views, flip=self.flip)

    def soft(self, said: np.ndarray) -> np.ndarray:
        """Logits as calibrated probabilities, float32."""
        probabilities = calibrated(said, self.temperature)
        return probabilities if self.alignment is None else aligned(probabilities, np.array(self.alignment))

    def limit(self, label: np.ndarray) -> np.ndarray:
        """That of the class of each label [n]."""
        limits: np.ndarray = np.array(self.limits)[label]
        return limits

    def kept(self, label: np.ndarray, score: np.ndarray, distance: np.ndarray) -> np.ndarray:
        """Which labels, so sure and so far from the labelled images, are kept [n]."""
        found: np.ndarray = self.border.inside(distance) & (score >= self.limit(label))
        return found


def rules_of(model: Path, card: Card, calibration: Path) -> Rules:
    """What calibrate wrote of `model`. Raises BadInput for anything else."""

    def numbers(told: dict[str, Any]) -> Iterator[float]:
        if told["temperature"] == 0:
            raise ValueError("its temperature is 0")
        if type(told["views"]) is not int or told["views"] < 1 or type(told["flip"]) is not bool:
            raise ValueError(f"its views are {told['views']!r}, its flip {told['flip']!r}")
        border = told["out_of_distribution"]
        yield from (told["temperature"], *(told["alignment"] or []), *([] if border is None else [border["limit"]]))

    told = calibration_of(model, calibration, sha256=card.sha256, numbers=numbers, least=0.0, kind="calibration")
    return Rules(
        teacher=told["teacher"],
        temperature=told["temperature"],
        alignment=None if told["alignment"] is None else tuple(told["alignment"]),
        limits=tuple(np.inf if row["threshold"] is None else row["threshold"] for row in told["classes"]),
        target_precision=told["target_precision"],
        views=told["views"],
        flip=told["flip"],
        border=border_of(told["out_of_distribution"], calibration),
    )
