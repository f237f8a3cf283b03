"""What learns in a loop of its own: a student of a learning teacher, a teacher made for its student, searches."""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from tasks.adapting import about
from tasks.anomalies import find_anomalies
from tasks.carry import Carried, carry_on, results
from tasks.lesson_search import choose_student, grow_student
from tasks.loops import Loop, NASStudent, OddRanks, OracleGrowth, UninformedStudents
from tasks.odd_ranks import rank_odd
from tasks.params import Params
from tasks.teaching import LEARNED, Teaching
from tasks.training import labels_of, run
from tutelage.data.images import Images
from tutelage.data.manifest import classes_of, read_split
from tutelage.metrics.classification import accuracy
from tutelage.models.backbone import Backbone, create
from tutelage.models.files import save_model
from tutelage.train import afd, ckpt_nmt, feature_critic, kdgan, metadistil, rl_kd
from tutelage.train.afd import AFD
from tutelage.train.ckpt_nmt import CkptNMT
from tutelage.train.device import accelerator
from tutelage.train.feature_critic import FeatureCritic
from tutelage.train.kdgan import KDGAN
from tutelage.train.loop import Step
from tutelage.train.metadistil import MetaDistil
from tutelage.train.predict import predict
from tutelage.train.rl_kd import RLKD
from tutelage.train.sftn import SFTN
from tutelage.types import Network


def lesson(split: Path, teacher: Path, *, params: Params, out: Path) -> Path:
    """A split and a teacher's folder -> what the loop that `lesson.learn` names trains: model.safetensors, curve.csv.

    afd: a student that learned beside others; no teacher is asked. ckpt_nmt: a network that learns from its own best
    checkpoint and asks the teacher nothing. metadistil, kdgan, rl_kd (of a committee), feature_critic, or that as
    portable_student, kdfm, adv_audio_fd or xmodal_cgan have it: a student. sftn: a teacher that its student can
    imitate, to be put first in a chain. nas_student, oracle_search: a student, and search.json, how it was found.
    uninformed_students: a detector of anomalies, and of the test images maps.parquet, anomalies.json, report.md.
    vad_ordinal: what ranks images by how odd they are, and of pool and test scores.parquet, anomalies.json, report.md.
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
    student, teacher = _placed(teaching)
    state = metadistil.begin(student, teacher, teaching.params.optimiser)
    return _taught(teaching, learn, state, metadistil.fit, teaching.lessons, lambda: state.student, out)


def _pick_teachers(teaching: Teaching, learn: RLKD, out: Path) -> Path:
    student, teacher = _placed(teaching)
    classes = len(classes_of(teaching.table))
    state = rl_kd.begin(learn, student, teacher, classes=classes, settings=teaching.params.optimiser)
    return _taught(teaching, learn, state, rl_kd.fit, teaching.lessons, lambda: state.student, out)


def _fool_a_critic(teaching: Teaching, learn: FeatureCritic, out: Path) -> Path:
    student, teacher = _placed(teaching)
    classes = len(classes_of(teaching.table))
    state = feature_critic.begin(learn, student, teacher, classes=classes, settings=teaching.params.optimiser)
    whole = partial(feature_critic.deployed, learn, state)
    return _taught(teaching, learn, state, feature_critic.fit, teaching.batches, whole, out)


def _play(teaching: Teaching, learn: KDGAN, out: Path) -> Path:
    student, teacher = _placed(teaching)
    critic = create(teaching.network, len(classes_of(teaching.table))).to(next(student.parameters()).device)
    state = kdgan.begin(student, teacher, critic, teaching.params.optimiser)
    return _taught(teaching, learn, state, kdgan.fit, teaching.batches, lambda: state.student, out)


def _placed(teaching: Teaching) -> tuple[Backbone, Network]:
    student, teacher = teaching.pair()
    device = accelerator(teaching.params.compute).device
    return student.to(device), teacher.to(device)


def _taught(
    teaching: Teaching, learn: Loop, state: Carried, fit: Callable[..., Iterable[Step]], feed: Callable[..., Any],
    student: Callable[[], Network], out: Path,
) -> Path:  # fmt: skip
    """Carry a loop of its own to its end; `student` is then what is written."""
    params, steps, scratch = teaching.params, teaching.wanted.steps, teaching.scratch()
    carry_on(
        teaching.name, state,
        lambda: fit(learn, state, feed(start=state.step, stop=steps), params.optimiser, steps=steps),
        steps=steps, compute=params.compute, scratch=scratch,
    )  # fmt: skip
    with results(out, scratch, LEARNED) as folder:
        trained = student()
        assert isinstance(trained, Backbone)
        save_model(folder / "model.safetensors", trained, classes=classes_of(teaching.table), method=about(learn))
    return out


def _surpass(teaching: Teaching, learn: CkptNMT, out: Path) -> Path:
    params, table, held = teaching.params, teaching.table, teaching.held_out()
    job, labels = teaching.job(learn, teaching.network, ("labelled",)), labels_of(table, held)
    images = Images.open(table, teaching.network.image_size)

    def score(net: Network) -> float:
        said = predict(net, images, held, compute=params.compute, batch=params.evaluate.batch)
        return accuracy(labels, said.argmax(1))

    return run(job, table, params, out, LEARNED, through=lambda state, seen: ckpt_nmt.judged(learn, state, seen, score))


def _learn_in_a_ring(teaching: Teaching, learn: AFD, out: Path) -> Path:
    student, _ = _placed(teaching)
    state = afd.begin(learn, student, teaching.params.optimiser)
    return _taught(teaching, learn, state, afd.fit, teaching.batches, lambda: state.average, out)


def _befriend(teaching: Teaching, learn: SFTN, out: Path) -> Path:
    return run(teaching.job(learn, teaching.network), teaching.table, teaching.params, out, LEARNED)


TEACHERS: dict[type[Loop], Callable[[Teaching, Any, Path], Path]] = {
    AFD: _learn_in_a_ring,
    CkptNMT: _surpass,
    FeatureCritic: _fool_a_critic,
    KDGAN: _play,
    MetaDistil: _learn_to_teach,
    NASStudent: choose_student,
    OddRanks: rank_odd,
    OracleGrowth: grow_student,
    RLKD: _pick_teachers,
    SFTN: _befriend,
    UninformedStudents: find_anomalies,
}
