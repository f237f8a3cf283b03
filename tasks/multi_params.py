"""The section `multitask` of params.yaml as typed values."""

from dataclasses import dataclass, field, replace
from typing import Annotated

from pydantic import BeforeValidator, Field

from tasks.box_params import ScenesSplit
from tasks.knobs import STRICT, Count, Open, Share, parse_multitask_method
from tasks.proof_params import Report
from tasks.turn_params import PlanTurns
from tutelage.data.scene_views import SceneViews
from tutelage.methods.multitask import MultiMethod
from tutelage.methods.multitask.must import MuST
from tutelage.models.multi_spec import MultiSpec
from tutelage.train.multilingual_nmt import MultilingualNMT
from tutelage.train.settings import Optimiser
from tutelage.types import TASKS, Task


@dataclass(frozen=True, kw_only=True)
class TrainMulti:
    """One training run: how long, on how much at a time, by which method."""

    __pydantic_config__ = STRICT
    steps: Count  # updates of the weights; time grows with them
    labelled_batch: Count  # labelled scenes a step
    pool_batch: Annotated[int, Field(ge=0)] = 0  # scenes of the pool a step, where the method looks at them; 0: none
    method: Annotated[MultiMethod, BeforeValidator(parse_multitask_method)]
    holdout: bool = True  # also learn from the hold-out; a student in turns never does


@dataclass(frozen=True, kw_only=True)
class StudentMulti(TrainMulti):
    """The run of the student, whose tasks may have turns."""

    __pydantic_config__ = STRICT
    hears: list[Task] | None = None  # whose specialists it learns from; the other tasks from labels alone. null: all
    turns: PlanTurns | None = None  # null: all tasks at every step, from labels and specialists

    def __post_init__(self) -> None:
        if self.hears is not None and (not self.hears or len(set(self.hears)) < len(self.hears)):
            raise ValueError(f"student.hears is {self.hears}: name at least one task, each once, or write null for all")
        if self.turns is not None and self.steps % self.turns.every:
            raise ValueError(
                f"student.steps is {self.steps}, no whole number of turns of {self.turns.every} steps. Write a multiple"
            )
        if self.hears is not None and self.turns is not None:
            raise ValueError("student.turns decides whom the student hears, so student.hears must be null")

    @property
    def learns_holdout(self) -> bool:
        """Turns are judged there, so a student in turns may not have seen it."""
        return self.holdout and self.turns is None


@dataclass(frozen=True, kw_only=True)
class LabelMulti:
    """What of a teacher's answers a student is to believe."""

    __pydantic_config__ = STRICT
    box_score: Share = 0.5  # of a kept box; Ghiasi et al. 2021, sec. 3.1
    box_doubt: Share = 0.4  # score from which a box is at least no background
    pixel_confidence: Share = 0.5  # of a pixel that is given a class; the others are left out
    unit: Annotated[float, Field(gt=0)] = (
        1000.0  # steps of the stored depth in one of the data's: millimetres in metres
    )
    shard_size: Count = 1000  # images in one file of answers
    batch: Count = 32  # images at a time; more need more memory


@dataclass(frozen=True, kw_only=True)
class EvaluateMulti:
    """How a network of several tasks is measured."""

    __pydantic_config__ = STRICT
    batch: Count = 32  # images at a time
    max_detections: Count = 100  # an image
    present: Open = 0.5  # probability from which a class counts as named


@dataclass(frozen=True, kw_only=True)
class Multitask:
    """All of `multitask`. Images are those of `detection`."""

    __pydantic_config__ = STRICT
    split: ScenesSplit = field(default_factory=ScenesSplit)
    tasks: list[Task] = field(default_factory=lambda: list(TASKS))  # those that the data has labels for
    depth_unit: Annotated[float, Field(gt=0)] = 1000.0  # steps of the depth PNG in one metre
    network: MultiSpec
    views: SceneViews
    optimiser: Optimiser
    teacher: TrainMulti  # the specialist of each task
    union: TrainMulti  # all tasks from their labels alone: what the student is compared with
    student: StudentMulti  # all tasks, from labels and what the specialists say of the pool
    start: Task | None = None  # the specialist whose backbone, pyramid and head union and student begin with
    label: LabelMulti = field(default_factory=LabelMulti)
    evaluate: EvaluateMulti = field(default_factory=EvaluateMulti)
    report: Report = field(default_factory=lambda: Report(gallery=8))

    def __post_init__(self) -> None:
        if not self.tasks or len(set(self.tasks)) < len(self.tasks):
            raise ValueError(f"tasks is {self.tasks}: name some of {', '.join(TASKS)}, each once")
        if self.start is not None and self.start not in self.tasks:
            raise ValueError(f"start is {self.start!r}: it names one of tasks, or is null for a start from scratch")
        if not set(self.hears) <= set(self.tasks):
            raise ValueError(f"student.hears is {self.hears}, and tasks is {self.tasks}: hear some of these")
        if self.student.pool_batch == 0:
            raise ValueError("student.pool_batch is 0, so the student would see no pseudo-label. Write at least 1")
        self._measure_depth()
        if self.student.turns and isinstance(self.student.turns.learn, MultilingualNMT) and self.teacher.holdout:
            raise ValueError(
                "student.turns.learn compares the student with its teachers on the hold-out, and teacher.holdout is "
                "true: teachers would know the answers. Write teacher.holdout: false"
            )
        if self.student.turns and self.start and self.teacher.holdout:
            raise ValueError(
                f"student.turns scores the student on the hold-out, and it begins with the specialist of {self.start}, "
                "which knows it: teacher.holdout is true. Write teacher.holdout: false, or start: null"
            )

    def _measure_depth(self) -> None:
        runs = {"teacher": self.teacher, "union": self.union, "student": self.student}
        for name, run in runs.items():
            if "depth" in self.tasks and isinstance(run.method, MuST) and run.method.depth_loss == "affine":
                raise ValueError(
                    f"{name}.method.depth_loss is 'affine', which leaves scale and shift open, and depth is stored and "
                    "scored in metres. Write log or silog, or leave depth out of tasks"
                )

    @property
    def hears(self) -> list[Task]:
        """The tasks whose specialists the student learns from."""
        return self.tasks if self.student.hears is None else self.student.hears

    def shaped(self, tasks: tuple[Task, ...]) -> MultiSpec:
        """The network with heads for these tasks alone."""
        return replace(self.network, tasks=tasks)
