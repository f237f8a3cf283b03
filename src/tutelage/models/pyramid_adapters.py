"""What makes the feature pyramids of two networks comparable."""

from jaxtyping import Float
from torch import Tensor, nn

from tutelage.models.pairs import Adapter
from tutelage.multi_types import Multi
from tutelage.types import BadInput, Detector


class PyramidAdapters(nn.Module):
    """Each level of a student's pyramid at its teacher's channels. Raises BadInput where their levels differ."""

    def __init__(self, student: Detector | Multi, teacher: Detector | Multi):
        super().__init__()
        if list(student.widths) != list(teacher.widths):
            raise BadInput(
                f"The student's pyramid has the levels {', '.join(student.widths)}, its teacher's "
                f"{', '.join(teacher.widths)}: give both detectors the same levels"
            )
        self.levels = list(student.widths)
        self.adapters = nn.ModuleList(Adapter(student.widths[level], teacher.widths[level]) for level in self.levels)

    def forward(self, maps: dict[str, Tensor]) -> dict[str, Float[Tensor, "n _ _ _"]]:
        return {level: adapt(maps[level]) for level, adapt in zip(self.levels, self.adapters, strict=True)}
