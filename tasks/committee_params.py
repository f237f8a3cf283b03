"""The section `committee` of params.yaml: several teachers as one."""

from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import Field

from tasks.fits import check_alone
from tasks.knobs import STRICT, Count, Train


@dataclass(frozen=True, kw_only=True)
class Member:
    """One teacher, or several that differ by what chance they were trained with."""

    __pydantic_config__ = STRICT
    network: dict[str, Any] = field(default_factory=dict)  # fields of `network` that it has otherwise
    number: Count = 1  # how many such
    model: str | None = None  # folder of a model that is there: it is taken as it is

    def __post_init__(self) -> None:
        if self.model is not None and (self.network or self.number > 1):
            raise ValueError(f"model {self.model!r} is taken as it is, once: leave out network and number")


@dataclass(frozen=True, kw_only=True)
class CommitteeParams:
    """Who is in it, and how those learn that are not there yet."""

    __pydantic_config__ = STRICT
    members: Annotated[list[Member], Field(min_length=1)]
    train: Train  # of each
    disjoint: bool = False  # each learns from its own share of the labelled images, as in PATE

    def __post_init__(self) -> None:
        check_alone({"train": self.train})
        if self.disjoint and any(member.model is not None for member in self.members):
            raise ValueError("disjoint is true, but of a model that is there nobody knows what it saw: leave it out")

    def every(self) -> list[Member]:
        return [member for member in self.members for _ in range(member.number)]
