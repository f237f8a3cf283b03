"""The student of a round of detection."""

import dataclasses
from pathlib import Path

import pyarrow as pa

from tasks.box_answers import kept_boxes, read_store
from tasks.box_training import every_box, pool_rows, train_detector
from tasks.params import Params
from tasks.student import check_teacher, roles_of, round_of, untaught, weakened
from tasks.training import NOTE, guarded, passed
from tutelage.data.manifest import read_split
from tutelage.data.pseudo_boxes import easiest, read_boxes_of


def box_student(split: Path, teacher: Path, labels: Path, *, params: Params, out: Path) -> Path:
    """Train a student on boxes and the pool, with the teacher's pseudo-boxes: model.safetensors, curve.csv.

    After the guard has stopped the rounds, or where the pool is empty, the teacher's model is passed on, and
    passed.json says why.
    """
    table, wanted = read_split(split), params.detection
    state, number, pool = guarded(teacher), round_of(out), pool_rows(split, table)
    settings = wanted.rounds[number]
    if reason := untaught(state, wanted.student.method, len(pool)):
        return passed(teacher, reason, out)
    job = every_box(
        f"box_student@{number}", weakened(wanted.student, state["unsupervised_weight"]),
        dataclasses.replace(wanted.network, **settings.network), split, table,
        teacher=teacher / "model.safetensors", roles=roles_of(settings),
    )  # fmt: skip
    ids = table["id"].take(pa.array(pool)).to_pylist()
    pseudo = read_boxes_of(labels, ids)
    if ids:
        check_teacher(labels, teacher / "model.safetensors")
    if settings.easiest < 1:
        pseudo = easiest(pseudo, [one.scores for one in kept_boxes(read_store(labels), people=False)], settings.easiest)
    job = dataclasses.replace(job, pseudo=pseudo)
    return train_detector(job, table, params, out, notes={NOTE: list(roles_of(settings))})
