"""Whether what a gain is read against was trained as long as what gained."""

from collections.abc import Collection, Mapping

from tasks.adapt_params import Adapt
from tasks.adapt_scenes_params import AdaptScenes
from tasks.box_params import Detection, TrainDetector
from tasks.knobs import Train
from tasks.multi_params import TrainMulti
from tasks.params import Params

Labelled = Train | TrainDetector | TrainMulti
LESS = {"baseline": "some of the gain is longer training", "oracle": "it is no ceiling"}  # where it has fewer steps
MORE = "it has had more training"


def uneven(family: Params | Detection, *, section: str = "") -> list[str]:
    """A sentence for each of baseline and oracle that has other steps than teacher and students together; else none."""
    together = family.teacher.steps + family.last * family.student.steps
    lines = {name: together if (run := getattr(family, name)) is None else run.steps for name in LESS}
    return _told(lines, together, f"teacher and {family.last} student(s) have", section)


def uneven_scenes(wanted: AdaptScenes, there: Collection[str] = tuple(LESS)) -> list[str]:
    """The same of those that are `there`, against the candidate that is the line between baseline and oracle."""
    way = wanted.candidates[wanted.adapted]
    lines = {name: getattr(wanted, name).steps for name in LESS if name in there}
    if way.start == "scratch":
        return _told(lines, way.steps, f"{wanted.adapted} has", "adapt_scenes.")
    return _told(lines, wanted.source.steps + way.steps, f"source and {wanted.adapted} have", "adapt_scenes.")


def uneven_pair(ours: Labelled, theirs: Labelled, *, section: str, names: tuple[str, str], whose: str) -> list[str]:
    """A sentence for each way in which a student and what it is read against, by their `names` in `section`, did not
    see as much of the labels; else none. `whose` the difference is to be.
    """
    one, other = names
    pairs = {name: (getattr(ours, name), getattr(theirs, name)) for name in ("steps", "labelled_batch")}
    return [
        f"Unequal training: {section}.{other}.{name} is {had:,}, {section}.{one}.{name} {wanted:,}, so not all of the "
        f"difference is {whose}. Write {wanted} for a fair comparison."
        for name, (wanted, had) in pairs.items()
        if wanted != had
    ]


def _told(lines: Mapping[str, int], together: int, who: str, section: str) -> list[str]:
    return [
        f"Unequal training: {section}{name}.steps is {steps:,}, {who} {together:,} steps together, so "
        f"{LESS[name] if steps < together else MORE}. Write {together} for a fair comparison"
        for name, steps in lines.items()
        if steps != together
    ]


def uneven_choice(adapt: Adapt, chosen: str, longer: str, there: Collection[str]) -> list[str]:
    """A sentence where the adapted model `chosen` has other steps than `longer`, the source trained on; else none.

    Rounds that are not `there` passed the model on that they started from.
    """
    ours, theirs, before = (_steps(adapt, name, there) for name in (chosen, longer, "source"))
    if chosen == "source" or ours == theirs:
        return []
    why = LESS["baseline"] if theirs < ours else MORE
    way_out = f". Write adapt.candidates.{longer}.steps: {ours - before} for a fair comparison" if ours > before else ""
    begun = "with those of all that it begins with"
    return [f"Unequal training: {chosen} has {ours:,} steps {begun}, {longer} {theirs:,}, so {why}{way_out}"]


def _steps(adapt: Adapt, name: str, there: Collection[str]) -> int:
    """Of a model, and of all that it begins with."""
    if name == "source":
        return adapt.source.steps
    if name == "cycada":
        return _steps(adapt, "translated", there) + adapt.features.steps
    if name.startswith("round "):
        number = int(name.removeprefix("round "))
        first = adapt.rounds[number].teacher.rpartition("/")[2] if number == 1 else f"round {number - 1}"
        if name not in there:
            return _steps(adapt, first, there)
        return adapt.student.steps + (_steps(adapt, first, there) if adapt.student.start == "teacher" else 0)
    way = adapt.candidates[name]
    return way.steps + (adapt.source.steps if way.start == "source" else 0)
