"""The section `compress` of params.yaml."""

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from tasks.fits import check_alone
from tasks.knobs import STRICT, Folder, Share, Train
from tasks.lesson_params import check_begins, parse_loop
from tasks.loops import LOOPS, UNLINKED, Loop


@dataclass(frozen=True, kw_only=True)
class Link:
    """One step down: a smaller network, and the model that teaches it."""

    __pydantic_config__ = STRICT
    teacher: Folder  # folder of a model
    network: dict[str, Any]  # fields of `network` that this student has otherwise
    learn: Annotated[Loop | None, BeforeValidator(parse_loop)] = None  # a loop of its own, not compress.student.method

    def __post_init__(self) -> None:
        if isinstance(self.learn, UNLINKED):
            name = next(name for name, kind in LOOPS.items() if kind is type(self.learn))
            raise ValueError(f"{name} make no classifier, so no link. Run `python -m tasks lesson` instead")


@dataclass(frozen=True, kw_only=True)
class Smaller:
    """What a compact student must show before it takes its teacher's place."""

    __pydantic_config__ = STRICT
    smaller: Annotated[float, Field(ge=1)] = 3.0  # times fewer bytes
    faster: Annotated[float, Field(ge=1)] = 2.0  # times less time on the CPU
    margin: Share = 0.01  # accuracy that the lower end of the interval may lack


@dataclass(frozen=True, kw_only=True)
class Compress:
    """From a large network to a compact one, over assistants where the chain has several links."""

    __pydantic_config__ = STRICT
    network: dict[str, Any]  # fields of `network` that the large teacher has otherwise
    teacher: Train  # the large network, from labels alone
    student: Train  # of each link
    baseline: Train  # the compact network without a teacher
    chain: dict[int, Link]
    last: int  # number of the last link, whose student is judged
    judge: Smaller

    def __post_init__(self) -> None:
        check_alone({"teacher": self.teacher, "baseline": self.baseline})
        for n, link in self.chain.items():
            check_begins(link.learn, "student.start", self.student.start)
            above = f"work/compress/students/{n - 1}"
            if n > 1 and link.teacher != above:
                raise ValueError(f"chain.{n}.teacher is {link.teacher!r}, but the link before it makes {above}")
        if list(self.chain) != list(range(1, self.last + 1)):
            raise ValueError(f"links are {list(self.chain)} and last is {self.last}: number them from 1 to last")
