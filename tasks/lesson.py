"""What learns in a loop of its own: a student of a learning teacher, a teacher made for its student, searches."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tasks.adapting import about
from tasks.anomalies import find_anomalies
from tasks.carry import carry_on, results
from tasks.lesson_search import choose_student, grow_student
from tasks.loops import Loop, NASStudent, OracleGrowth, UninformedStudents
from tasks.params import Params
from tasks.teaching import Teaching
from tasks.training import run
from tutelage.data.manifest import classes_of, read_split
from tutelage.models.backbone import Backbone
from tutelage.models.files import save_model
from tutelage.train import metadistil
from tutelage.train.device import accelerator
from tutelage.train.metadistil import MetaDistil
from tutelage.train.sftn import SFTN


def lesson(split: Path, teacher: Path, *, params: Params, out: Path) -> Path:
    """A split and a teacher's folder -> what the loop that `lesson.learn` names trains: model.safetensors, curve.csv.

    metadistil: a student. sftn: a teacher that its student can imitate, to be put first in a chain. nas_student,
    oracle_search: a student, and search.json, how it was found. uninformed_students: a detector of anomalies, and of
    the test images maps.parquet, anomalies.json, report.md.
    """
    wanted = params.lesson
    network = params.resized(wanted.network, "lesson.network")
    weights = teacher / "model.safetensors"
    return teach(
        Teaching(
            name="lesson", wanted=wanted, network=network, table=read_split(split), params=params, weights=weights
        ),
        out,
    )


def teach(teaching: Teaching, out: Path) -> Path:
    """Carry out a loop of its own, continued where it was cut off."""
    learn = teaching.wanted.learn
    return TEACHERS[type(learn)](teaching, learn, out)


def _learn_to_teach(teaching: Teaching, learn: MetaDistil, out: Path) -> Path:
    params, steps = teaching.params, teaching.wanted.steps
    classes, device = classes_of(teaching.table), accelerator(params.compute).device
    student, teacher = teaching.pair()
    state = metadistil.begin(student.to(device), teacher.to(device), params.optimiser)
    scratch = teaching.scratch()
    carry_on(
        teaching.name, state,
        lambda: metadistil.fit(
            learn, state, teaching.lessons(start=state.step, stop=steps), params.optimiser, steps=steps
        ),
        steps=steps, compute=params.compute, scratch=scratch,
    )  # fmt: skip
    with results(out, scratch) as folder:
        assert isinstance(state.student, Backbone)
        save_model(folder / "model.safetensors", state.student, classes=classes, method=about(learn))
    return out


def _befriend(teaching: Teaching, learn: SFTN, out: Path) -> Path:
    return run(teaching.job(learn, teaching.network), teaching.table, teaching.params, out)


TEACHERS: dict[type[Loop], Callable[[Teaching, Any, Path], Path]] = {
    MetaDistil: _learn_to_teach,
    NASStudent: choose_student,
    OracleGrowth: grow_student,
    SFTN: _befriend,
    UninformedStudents: find_anomalies,
}
