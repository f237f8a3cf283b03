"""What learns in a loop of its own: a student of a learning teacher, a teacher made for its student, searches."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tasks.adapting import about
from tasks.anomalies import find_anomalies
from tasks.carry import carry_on, results
from tasks.lesson_search import choose_student, grow_student
from tasks.loops import Loop, NASStudent, OddRanks, OracleGrowth, UninformedStudents
from tasks.odd_ranks import rank_odd
from tasks.params import Params
from tasks.teaching import Teaching
from tasks.training import labels_of, run
from tutelage.data.images import Images
from tutelage.data.manifest import classes_of, read_split
from tutelage.metrics.classification import accuracy
from tutelage.models.backbone import Backbone
from tutelage.models.files import save_model
from tutelage.train import ckpt_nmt, metadistil
from tutelage.train.ckpt_nmt import CkptNMT
from tutelage.train.device import accelerator
from tutelage.train.metadistil import MetaDistil
from tutelage.train.predict import predict
from tutelage.train.sftn import SFTN
from tutelage.types import Network


def lesson(split: Path, teacher: Path, *, params: Params, out: Path) -> Path:
    """A split and a teacher's folder -> what the loop that `lesson.learn` names trains: model.safetensors, curve.csv.

    ckpt_nmt: a network that learns from its own best checkpoint and asks the teacher nothing. metadistil: a student.
    sftn: a teacher that its student can imitate, to be put first in a chain. nas_student, oracle_search: a student, and
    search.json, how it was found. uninformed_students: a detector of anomalies, and of the test images maps.parquet,
    anomalies.json, report.md. vad_ordinal: what ranks images by how odd they are, and of pool and test scores.parquet,
    anomalies.json, report.md.
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


def _surpass(teaching: Teaching, learn: CkptNMT, out: Path) -> Path:
    params, table, held = teaching.params, teaching.table, teaching.held_out()
    job, labels = teaching.job(learn, teaching.network, ("labelled",)), labels_of(table, held)
    images = Images.open(table, teaching.network.image_size)

    def score(net: Network) -> float:
        said = predict(net, images, held, compute=params.compute, batch=params.evaluate.batch)
        return accuracy(labels, said.argmax(1))

    return run(job, table, params, out, through=lambda state, seen: ckpt_nmt.judged(learn, state, seen, score))


def _befriend(teaching: Teaching, learn: SFTN, out: Path) -> Path:
    return run(teaching.job(learn, teaching.network), teaching.table, teaching.params, out)


TEACHERS: dict[type[Loop], Callable[[Teaching, Any, Path], Path]] = {
    CkptNMT: _surpass,
    MetaDistil: _learn_to_teach,
    NASStudent: choose_student,
    OddRanks: rank_odd,
    OracleGrowth: grow_student,
    SFTN: _befriend,
    UninformedStudents: find_anomalies,
}
