"""What runs of a loop of their own share: jobs, lessons with a quiz, a place for checkpoints."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from tasks.adapting import scratch_of
from tasks.knobs import Train
from tasks.lesson_params import LessonParams
from tasks.params import Params
from tasks.training import NOTE, Job, every_label, networks, rows_of, source, teacher_of
from tutelage.data.batches import batches
from tutelage.data.manifest import classes_of
from tutelage.methods import Method
from tutelage.methods.supervised import Supervised
from tutelage.models.backbone import Backbone, NetworkSpec
from tutelage.train.lessons import Lesson
from tutelage.types import BadInput, Batch, Network

# Of each lesson: what is not trained on the hold-out is guided by it, or chosen.
LEARNED: dict[str, Any] = {NOTE: ["labelled", "holdout"]}


@dataclass(frozen=True, kw_only=True)
class Teaching:
    """One such run, as data."""

    name: str  # for people: progress and messages
    wanted: LessonParams
    network: NetworkSpec  # of what is trained
    table: pa.Table  # the split
    params: Params
    weights: Path  # of the teacher

    def teacher(self) -> Network:
        """One network, or a committee. Raises BadInput where it knows other classes than the split."""
        return teacher_of(self.weights, classes_of(self.table))[0]

    def job(self, method: Method, network: NetworkSpec, roles: tuple[str, ...] = ("labelled", "holdout")) -> Job:
        """A run of an ordinary method on labelled images, by this run's budget."""
        train = Train(
            steps=self.wanted.steps, labelled_batch=self.wanted.labelled_batch, pool_batch=0, method=method,
            start=self.wanted.start,
        )  # fmt: skip
        return every_label(self.name, train, network, self.table, teacher=self.weights, roles=roles)

    def pair(self) -> tuple[Backbone, Network]:
        """A student drawn from the seed, or with its teacher's weights, and the teacher."""
        torch.manual_seed(self.params.seed)
        student, teacher = networks(self.job(Supervised(), self.network), classes_of(self.table))
        assert teacher is not None
        return student, teacher

    def lessons(self, *, start: int, stop: int) -> Iterator[Lesson]:
        """Of steps start..stop-1. The quiz is of held-out images: none of a lesson is in any quiz."""
        self.held_out()
        jobs = (self.job(Supervised(), self.network, (role,)) for role in ("labelled", "holdout"))
        streams = (
            batches(source(job, self.table, self.params), start=start, stop=stop, workers=self.params.compute.workers)
            for job in jobs
        )
        for train, quiz in zip(*streams, strict=True):
            yield Lesson(train.labeled, quiz.labeled)

    def batches(self, *, start: int, stop: int) -> Iterator[Batch]:
        """Of steps start..stop-1, of all labelled images: where nothing is asked of the hold-out, it is learned."""
        made = source(self.job(Supervised(), self.network), self.table, self.params)
        return batches(made, start=start, stop=stop, workers=self.params.compute.workers)

    def held_out(self) -> np.ndarray:
        """Rows of the hold-out. Raises BadInput where there is none."""
        rows = rows_of(self.table, "holdout")
        if not len(rows):
            what = type(self.wanted.learn).__name__
            raise BadInput(f"the split has no hold-out, which {what} learns from. Raise split.holdout above 0")
        return rows

    def scratch(self) -> Path:
        """A folder for checkpoints, named after all that the run depends on."""
        told = f"{self.network}, {self.wanted}"
        return scratch_of(self.name, told, self.table, self.params, self.weights, roles=("labelled", "holdout"))
