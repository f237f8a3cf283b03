"""The section `compare` of params.yaml."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from tasks.knobs import STRICT, Count, Seed, parse_methods
from tutelage.methods import Method


@dataclass(frozen=True, kw_only=True)
class Compare:
    """Methods on one teacher, student, data and budget."""

    __pydantic_config__ = STRICT
    methods: Annotated[dict[str, Method] | None, BeforeValidator(parse_methods)] = None  # by name; null: all there are
    seeds: Annotated[list[Seed], Field(min_length=1)] = field(default_factory=lambda: [0, 1, 2])  # one student each
    steps: Count = 1000  # of each student
    labelled_batch: Annotated[int, Field(gt=1)] = 32  # labelled images a step
    pool_batch: Annotated[int, Field(ge=0)] = 96  # 0: labelled images only
    network: dict[str, Any] = field(default_factory=dict)  # fields of `network` that the student has otherwise
    start: Literal["teacher", "scratch"] = "scratch"  # weights that a student begins with
    measured_on: Literal["test", "holdout"] = "test"  # holdout: it is then not trained on, and the test stays unseen

    def __post_init__(self) -> None:
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds is {self.seeds}: a seed twice is one run counted twice. Write each once")
