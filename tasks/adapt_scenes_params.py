"""The section `adapt_scenes` of params.yaml: pixels or boxes of a target without labels, from a labelled source."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from tasks.adapt_params import parse_shared
from tasks.box_params import ScenesIngest
from tasks.knobs import STRICT, Count, StageName, of_several
from tasks.multi_params import EvaluateMulti, TrainMulti
from tutelage.data.scene_views import SceneViews
from tutelage.methods.multitask import MultiMethod
from tutelage.methods.multitask.must import MuST
from tutelage.models.multi_spec import MultiSpec
from tutelage.train.adaptsegnet import AdaptSegNet
from tutelage.train.bdl import BDL
from tutelage.train.cycada_whole import CyCADAStages
from tutelage.train.settings import Optimiser

SCENE_LOOPS: dict[str, type[AdaptSegNet] | type[BDL] | type[CyCADAStages]] = {
    "adaptsegnet": AdaptSegNet,
    "bdl": BDL,
    "cycada": CyCADAStages,
}


def parse_scene_learner(value: Any) -> Any:
    """{"name": "mic", "mixed": 0} -> MIC(mixed=0.0); {"name": "adaptsegnet"} -> AdaptSegNet()."""
    return parse_shared(value, {**of_several(given=False), **SCENE_LOOPS}, "ways to adapt")


@dataclass(frozen=True, kw_only=True)
class SceneCandidate:
    """One way to adapt."""

    __pydantic_config__ = STRICT
    steps: Count  # updates of the weights; time grows with them
    labelled_batch: Count  # scenes of the source a step
    pool_batch: Annotated[int, Field(ge=0)]  # 0: the target is seen at the end alone, by `norms`
    start: Literal["source", "scratch"] = "source"  # weights that it begins with
    norms: Literal["training", "target"] = "training"  # images that batch norm's statistics are of in the end
    learn: Annotated[MultiMethod | AdaptSegNet | BDL | CyCADAStages, BeforeValidator(parse_scene_learner)]  # by name
    views: SceneViews | None = None  # of this one alone; null: those of adapt_scenes
    levels: Literal[1, 2] = 1  # of adaptsegnet: how many maps critics see

    def __post_init__(self) -> None:
        if self.levels == 2 and not isinstance(self.learn, AdaptSegNet):
            raise ValueError(f"levels is 2, but {type(self.learn).__name__} has no critic a level: leave it out")
        if isinstance(self.learn, BDL):
            self.learn.sharing(self.steps)
        if isinstance(self.learn, CyCADAStages):
            self.learn.ends(self.steps)
        if isinstance(self.learn, BDL | CyCADAStages) and self.start == "scratch":
            raise ValueError(
                f"start is scratch, but {type(self.learn).__name__} asks a network of the source what its translated "
                "images show: write start: source"
            )
        if not self.pool_batch and not (isinstance(self.learn, MuST) and self.norms == "target"):
            raise ValueError(
                f"pool_batch is 0, norms {self.norms!r} and learn {type(self.learn).__name__}, so the target is not "
                "seen as it should be: write pool_batch of 1 or more, or norms: target and learn: {name: must}"
            )


@dataclass(frozen=True, kw_only=True)
class AdaptScenes:
    """Labelled scenes are the source, the pool and the test are the target's."""

    __pydantic_config__ = STRICT
    ingest: ScenesIngest
    network: MultiSpec  # of one task, segmentation or detection
    views: SceneViews
    optimiser: Optimiser
    source: TrainMulti  # the source alone: what candidates begin with
    baseline: TrainMulti  # the source alone, for as many steps as source and candidate together: what one must beat
    oracle: TrainMulti  # the target's hidden labels alone
    candidates: Annotated[dict[StageName, SceneCandidate], Field(min_length=1)]
    adapted: str  # which candidate is the line between source and oracle, said before the test is seen
    evaluate: EvaluateMulti = field(default_factory=EvaluateMulti)

    def __post_init__(self) -> None:
        self._check_task()
        for name in ("pool", "test"):
            if getattr(self.ingest, name) is None:
                raise ValueError(f"ingest.{name} is null, but pool and test are the target: name both")
        if self.adapted not in self.candidates:
            raise ValueError(f"adapted is {self.adapted!r}: write one of the candidates, {', '.join(self.candidates)}")
        for name in ("source", "baseline", "oracle"):
            if getattr(self, name).pool_batch:
                raise ValueError(
                    f"{name}.pool_batch is {getattr(self, name).pool_batch}: it sees no pool, so leave it out"
                )

    def _check_task(self) -> None:
        if self.network.tasks not in (("segmentation",), ("detection",)):
            raise ValueError(
                f"network.tasks is {list(self.network.tasks)}: one is adapted at a time, write "
                "[segmentation] or [detection]"
            )
        for name, way in self.candidates.items():
            if self.network.tasks == ("detection",) and way.pool_batch:
                raise ValueError(
                    f"candidates.{name} learns from the target's images by {type(way.learn).__name__}, which names "
                    "pixels, but network.tasks is [detection]: write pool_batch: 0, norms: target and learn: {name: "
                    "must}, or let the section `detection` grow students on the target as its pool"
                )
