"""What a network of several tasks is made from. What makes it is loaded where it is used: torchvision takes a while."""

from dataclasses import dataclass, field

from tutelage.models.detectors import DetectorSpec
from tutelage.types import TASKS, BadInput, Task


@dataclass(frozen=True, kw_only=True)
class MultiSpec:
    """What a network is made from. Its pyramid is that of `detector`, whether it detects or not."""

    __pydantic_config__ = {"extra": "forbid"}
    tasks: tuple[Task, ...] = TASKS  # a head each; one that is left out costs nothing
    detector: DetectorSpec = field(default_factory=DetectorSpec)  # of kind fcos
    dense_width: int = 32  # channels of the heads that answer for every pixel, a multiple of 8

    def __post_init__(self) -> None:
        unknown = [task for task in self.tasks if task not in TASKS]
        if unknown or not self.tasks or len(set(self.tasks)) < len(self.tasks):
            raise BadInput(f"multi.tasks is {list(self.tasks)}: name some of {', '.join(TASKS)}, each once")
        object.__setattr__(self, "tasks", tuple(task for task in TASKS if task in self.tasks))
        if self.detector.kind != "fcos":
            raise BadInput(f"multi.detector.kind is {self.detector.kind!r}, and the shared pyramid takes heads of fcos")
        if self.dense_width < 8 or self.dense_width % 8:
            raise BadInput(f"multi.dense_width is {self.dense_width}: it must be a multiple of 8")
