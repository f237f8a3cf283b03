"""Whether what a gain is read against was trained as long as what gained."""

from tasks.box_params import Detection
from tasks.params import Params


def uneven(family: Params | Detection, *, section: str = "") -> list[str]:
    """A sentence for each of baseline and oracle that has other steps than teacher and students together; else none."""
    together, found = family.teacher.steps + family.last * family.student.steps, []
    for name, less in (("baseline", "some of the gain is longer training"), ("oracle", "it is no ceiling")):
        network = getattr(family, name)
        steps: int = together if network is None else network.steps
        if steps != together:
            why = less if steps < together else "it has had more training"
            found.append(
                f"Unequal training: {section}{name}.steps is {steps:,}, teacher and {family.last} student(s) have "
                f"{together:,} steps together, so {why}. Write {together} for a fair comparison"
            )
    return found
