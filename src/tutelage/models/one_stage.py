"""What detectors have in common that answer from every position of a pyramid at once."""

from abc import abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tutelage.models.box_answers import Flat, best_of_each, by_image, candidates, inside
from tutelage.models.box_matching import check_asked
from tutelage.models.detectors import DetectorSpec
from tutelage.models.parts import by_part
from tutelage.models.pyramids import Pyramid
from tutelage.multi_types import DenseObjects
from tutelage.types import Boxes, Detections, Detector, Look, Losses

Size = tuple[int, int]  # height and width


class OneStage(Detector):
    """A pyramid whose heads say a class and a place at each of p anchors, levels one after another, finest first."""

    each: int  # anchors a position

    def __init__(self, spec: DetectorSpec, classes: int, *, download: bool, body: bool = True):
        """Without a `body` it is the heads alone, for the maps of a pyramid that others look at too."""
        super().__init__()
        self.spec, self.classes, self.widths = spec, classes, {}
        if body:
            self.body = Pyramid(spec.network, strides=spec.levels, channels=spec.channels, download=download)
            self.widths = self.body.widths

    @abstractmethod
    def heads(self, maps: list[Float[Tensor, "n _ _ _"]]) -> dict[str, Float[Tensor, "n p _"]]:
        """The raw answers: `logits` [n p c], `deltas` [n p 4] and what else the heads say."""

    @abstractmethod
    def anchors(self, sizes: Sequence[Size], device: torch.device) -> Float[Tensor, "p 4"]:
        """What the deltas are relative to, for maps of these sizes."""

    @abstractmethod
    def losses(
        self, said: dict[str, Tensor], anchors: Float[Tensor, "p 4"], levels: Sequence[int], targets: Sequence[Boxes],
        weight: Float[Tensor, " n"] | None, known: Bool[Tensor, "n c"] | None = None,
    ) -> Losses:  # fmt: skip
        """The terms, by name. `levels` is the number of anchors of each."""

    @abstractmethod
    def scores(self, said: dict[str, Tensor]) -> Float[Tensor, "n p c"]: ...

    @abstractmethod
    def places(self, deltas: Float[Tensor, "m 4"], anchors: Float[Tensor, "m 4"]) -> Float[Tensor, "m 4"]: ...

    def forward(
        self, images: Float[Tensor, "n 3 h w"], targets: Sequence[Boxes] | None = None,
        weight: Float[Tensor, " n"] | None = None, *, look: bool = False, parts: Sequence[int] | None = None,
        known: Bool[Tensor, "n c"] | None = None,
    ) -> Losses | list[Detections] | Look:  # fmt: skip
        check_asked(images, targets, weight, parts, known)
        maps = self.pyramid(images)
        said, anchors, levels = self.everywhere(maps)
        if targets is None and not look:
            return self.answers(said, anchors, levels, (images.shape[-2], images.shape[-1]))

        def of(own: slice) -> Losses:
            assert targets is not None
            part = {key: value[own] for key, value in said.items()}
            trust, looked_for = (None if each is None else each[own] for each in (weight, known))
            return self.losses(part, anchors, levels, targets[own], trust, looked_for)

        losses = {} if targets is None else by_part(parts, of)
        return Look(losses, maps, said, (), images.new_zeros(0, self.classes + 1)) if look else losses

    def everywhere(self, maps: dict[str, Float[Tensor, "n _ _ _"]]) -> DenseObjects:
        """What the heads say of maps, finest first, in float32."""
        said = {name: value.float() for name, value in self.heads(list(maps.values())).items()}
        sizes = [(m.shape[-2], m.shape[-1]) for m in maps.values()]
        levels = tuple(self.each * height * width for height, width in sizes)
        return DenseObjects(said, self.anchors(sizes, said["logits"].device), levels)

    def pyramid(self, images: Float[Tensor, "n 3 h w"]) -> dict[str, Float[Tensor, "n _ _ _"]]:
        maps: dict[str, Tensor] = self.body(images)
        return maps

    @torch.no_grad()
    def answers(
        self, said: dict[str, Tensor], anchors: Float[Tensor, "p 4"], levels: Sequence[int], size: Size
    ) -> list[Detections]:
        """What the raw answers find in images of `size`."""
        scores = self.scores(said)
        image, place, label = candidates(scores, levels, floor=self.spec.score_floor, most=self.spec.candidates)
        places = inside(self.places(said["deltas"][image, place], anchors[place]), size)
        found = best_of_each(
            Flat(image, places, label, scores[image, place, label]),
            images=len(scores), kinds=self.classes, overlap=self.spec.nms, most=self.spec.max_detections,
        )  # fmt: skip
        return by_image(found, len(scores))
