"""The section `keypoints` of params.yaml."""

from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

from tasks.knobs import STRICT, Count, Open
from tutelage.models.poses import PoseSpec
from tutelage.train.okdhp import OKDHP
from tutelage.train.settings import Optimiser


@dataclass(frozen=True, kw_only=True)
class KeypointsParams:
    """A network that finds key points, taught by people alone and by the branches that grow beside it."""

    __pydantic_config__ = STRICT
    network: PoseSpec = field(default_factory=PoseSpec)
    zoom: Annotated[float, Field(ge=0, lt=1)] = 0.3  # views are larger by up to 1 + zoom, or smaller by as much
    shift: Annotated[float, Field(ge=0, lt=1)] = 0.15  # of the image, by which they are moved at most
    steps: Count  # updates of the weights; time grows with them
    batch: Annotated[int, Field(gt=1)]  # images a step
    alpha: Open = 0.1  # of an object's longer side, within which a point is found
    optimiser: Optimiser  # of which Adam takes lr, clip and warmup_steps
    learn: OKDHP = field(default_factory=OKDHP)
