"""The student of a round of adaptation."""

from pathlib import Path

from tasks.params import Params
from tasks.student import Lesson, round_of, teach


def adapt_round(split: Path, teacher: Path, labels: Path, translation: Path, *, params: Params, out: Path) -> Path:
    """Train a student on source labels and the target's images, with the teacher's pseudo-labels of them.

    Writes as `student` does; `translation` is read in rounds whose labelled images are seen as the translator makes
    them. Labels of the target are in none of its inputs.
    """
    settings = params.adapt.rounds[round_of(out)]
    lesson = Lesson(
        name=f"adapt_round@{out.parent.name}", train=params.adapt.student, network=params.network, roles=("labelled",),
        translator=translation / "translator.safetensors" if settings.translated else None,
    )  # fmt: skip
    return teach(split, teacher, labels, lesson, params=params, out=out)
