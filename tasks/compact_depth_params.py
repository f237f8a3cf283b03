"""The section `compact_depth` of params.yaml as typed values."""

from dataclasses import dataclass, field, replace
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from tasks.knobs import STRICT, Count, parse_depth_method
from tasks.mistakes import check_changes
from tasks.multi_params import TrainMulti
from tutelage.methods.multitask import MultiMethod
from tutelage.models.multi_spec import MultiSpec


@dataclass(frozen=True, kw_only=True)
class CompactDepth:
    """A smaller network of depth, taught by a given one. Images, labels and views are those of `multitask`."""

    __pydantic_config__ = STRICT
    network: dict[str, Any] = field(default_factory=dict)  # fields of multitask.network.detector that it has otherwise
    dense_width: Annotated[int, Field(ge=8, multiple_of=8)]  # channels of the head; fewer are faster
    steps: Count  # updates of the weights; time grows with them
    labelled_batch: Count  # labelled scenes a step
    method: Annotated[MultiMethod, BeforeValidator(parse_depth_method)]

    def train(self, method: MultiMethod) -> TrainMulti:
        """The run by `method`."""
        return TrainMulti(steps=self.steps, labelled_batch=self.labelled_batch, method=method)

    def shaped(self, full: MultiSpec) -> MultiSpec:
        """`full`, a head for depth alone and smaller. Raises ValueError for a field that it does not have, and where it
        would see images of another size than their depth and its teacher's answers have.
        """
        check_changes(full.detector, self.network, "compact_depth.network")
        detector = replace(full.detector, **self.network)
        if detector.image_size != full.detector.image_size:
            raise ValueError(
                f"compact_depth.network.image_size is {detector.image_size}, but images, depth and the teacher are "
                f"those of multitask, at {full.detector.image_size} pixels: leave image_size out"
            )
        return replace(full, tasks=("depth",), detector=detector, dense_width=self.dense_width)
