"""The section `strings` of params.yaml: images of things in a row, and readers of them."""

from dataclasses import asdict, dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from tasks.knobs import STRICT, Count, name_in, parse_named
from tutelage.data.rows import RowSpec
from tutelage.models.readers import ReaderSpec
from tutelage.train.settings import Optimiser
from tutelage.train.strings import NAT_KD, SEQ_KD, SEQKD_DA_REG, AccentCTC, Works, fits

WORKS: dict[str, Works] = {
    "multi_accent_ctc": AccentCTC(),
    "nat_kd": NAT_KD,
    "seq_kd": SEQ_KD,
    "seqkd_da_reg": SEQKD_DA_REG,
}


def parse_work(value: Any) -> Any:
    """{"name": "nat_kd", "beam": 3} -> SequenceKD(word=0.0, beam=3)."""
    if (name := name_in(value)) in WORKS:
        value = {**asdict(WORKS[name]), **value}
    return parse_named(value, {name: type(work) for name, work in WORKS.items()}, "works on strings")


@dataclass(frozen=True, kw_only=True)
class StringsParams:
    """A teacher, or one a style, and a student, from the same labelled rows."""

    __pydantic_config__ = STRICT
    rows: RowSpec
    labelled: Count  # rows that are learned from; pictures in them are those of the labelled images and the hold-out
    test: Count  # rows of test images
    steps: Count  # of each reader
    batch: Annotated[int, Field(gt=1)]  # rows a step
    optimiser: Optimiser  # of which Adam takes lr, clip and warmup_steps
    teacher: ReaderSpec
    student: ReaderSpec
    learn: Annotated[Works, BeforeValidator(parse_work)]  # how the student hears its teacher, by name

    def __post_init__(self) -> None:
        fits(self.learn, self.student, [self.teacher])
