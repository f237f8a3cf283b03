"""What compresses in a loop of its own, by the name it has in params.yaml. This table is the only one."""

from dataclasses import dataclass, field
from typing import Any

from tutelage.methods.kd import KD
from tutelage.methods.method import check
from tutelage.train.afd import AFD
from tutelage.train.ckpt_nmt import CkptNMT
from tutelage.train.feature_critic import ADV_AUDIO_FD, KDFM, PORTABLE_STUDENT, XMODAL_CGAN, FeatureCritic
from tutelage.train.kdgan import KDGAN
from tutelage.train.metadistil import MetaDistil
from tutelage.train.oracle_search import OracleSearch
from tutelage.train.rl_kd import RLKD
from tutelage.train.sftn import SFTN
from tutelage.train.vad_ordinal import VADOrdinal
from tutelage.types import BadInput


@dataclass(frozen=True, kw_only=True)
class NASStudent:
    """The candidate, of those that are small enough, that sees images most as the teacher does after a few steps."""

    __pydantic_config__ = {"extra": "forbid"}
    networks: list[dict[str, Any]]  # the candidates: fields of `network` that each has otherwise
    parameters: int  # a candidate with more is not even trained
    search_steps: int = 200  # of each candidate; few, for only their order counts
    probe: int = 256  # held-out images that they are compared with the teacher on
    method: KD = field(default_factory=KD)  # how candidates, and then the chosen one, are trained

    def __post_init__(self) -> None:
        check(self, positive=("parameters", "search_steps", "probe"))
        if not self.networks:
            raise BadInput("networks of nas_student is empty: write one or more, as [{width: 8}, {width: 16}]")


@dataclass(frozen=True, kw_only=True)
class OracleGrowth:
    """A network grown by what a controller picks, and then trained from scratch by `search.method`."""

    __pydantic_config__ = {"extra": "forbid"}
    depth: int = 1  # layers that are added behind each stage
    search_steps: int = 600  # of the controller, and of the weights that all candidates share
    search: OracleSearch = field(default_factory=OracleSearch)

    def __post_init__(self) -> None:
        check(self, positive=("depth", "search_steps"))


@dataclass(frozen=True, kw_only=True)
class UninformedStudents:
    """Students that imitate the teacher on normal images alone: where they fail, an image is not normal."""

    __pydantic_config__ = {"extra": "forbid"}
    normal: list[str] | None = None  # classes that are normal; null: all, and no test image is known to be abnormal
    students: int = 3  # of the ensemble; time grows with them
    layer: str = "stage2:stage2"  # the students' stage and the teacher's, whose descriptors are imitated
    lr: float = 1e-4  # of Adam, as its decay
    weight_decay: float = 1e-5  # of Adam

    def __post_init__(self) -> None:
        check(self, positive=("students", "lr"), weights=("weight_decay",))


@dataclass(frozen=True, kw_only=True)
class OddRanks:
    """A network that ranks images by how odd they are, from the pool and without labels."""

    __pydantic_config__ = {"extra": "forbid"}
    normal: list[str] | None = None  # classes that are normal, to measure by; null: all, and nothing is measured
    learn: VADOrdinal = field(default_factory=VADOrdinal)


Loop = (
    AFD
    | CkptNMT
    | FeatureCritic
    | KDGAN
    | MetaDistil
    | NASStudent
    | OddRanks
    | OracleGrowth
    | RLKD
    | SFTN
    | UninformedStudents
)

LOOPS: dict[str, type[Loop]] = {
    "afd": AFD,
    "ckpt_nmt": CkptNMT,
    "feature_critic": FeatureCritic,
    "kdgan": KDGAN,
    "metadistil": MetaDistil,
    "nas_student": NASStudent,
    "oracle_search": OracleGrowth,
    "rl_kd": RLKD,
    "sftn": SFTN,
    "uninformed_students": UninformedStudents,
    "vad_ordinal": OddRanks,
}

UNLINKED = (OddRanks, UninformedStudents)  # they make no classifier, so no link of a chain

LIKE: dict[str, tuple[str, Loop]] = {  # works that are one of the loops with other defaults
    "adv_audio_fd": ("feature_critic", ADV_AUDIO_FD),
    "kdfm": ("feature_critic", KDFM),
    "portable_student": ("feature_critic", PORTABLE_STUDENT),
    "xmodal_cgan": ("feature_critic", XMODAL_CGAN),
}
