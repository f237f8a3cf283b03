"""Scenes of the pool as teachers and student see them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from tasks.multi_label import say
from tasks.multi_pictures import Opinion, Picture, named, of_network, of_teachers, pictured
from tasks.multi_said import read_told
from tasks.multi_training import truth_of
from tasks.params import Params
from tasks.training import rows_of
from tutelage.data.images import Images
from tutelage.data.manifest import classes_of, read_split
from tutelage.models.multi_files import load_multi
from tutelage.types import Task

SIDE = 160  # pixels of a picture


@dataclass(frozen=True)
class Answer:
    """Of one task, the teacher's beside the student's."""

    task: Task
    teacher: Picture
    student: Picture
    teacher_text: str = ""
    student_text: str = ""


@dataclass(frozen=True)
class Scene:
    """An image of the pool with all that was said of it."""

    name: str
    image: Picture
    answers: list[Answer]


def read_scenes(split: Path, shares: Path, work: Path, params: Params) -> list[Scene]:
    """`multitask.report.gallery` images, evenly spread over the pool: labels/TASK in `work` beside its student."""
    table, wanted = read_split(split), params.multitask
    pool, classes = rows_of(table, "pool"), classes_of(table)
    truth = truth_of(split, shares, table, params)
    told = read_told(work / "labels", wanted.tasks, table["id"].take(pa.array(pool)).to_pylist(), truth, pool)
    places = np.unique(np.linspace(0, len(pool) - 1, min(len(pool), wanted.report.gallery)).astype(int))
    rows = pool[places]
    said = say(table, [rows], load_multi(work / "student" / "model.safetensors"), params, wanted.label.batch)
    images = Images.open(table, SIDE, cache_bytes=0, letterbox=True)
    scenes = []
    for place, row, own in zip(places.tolist(), rows.tolist(), said, strict=True):
        teachers = of_teachers(told(place), truth.size)
        student = of_network(own, truth.size, truth.factor(row), least=wanted.label.box_score)
        answers = [_answer(task, images[row], (teachers, student), classes, params) for task in wanted.tasks]
        scenes.append(Scene(table["id"][row].as_py(), images[row], answers))
    return scenes


def _answer(
    task: Task, image: Picture, opinions: tuple[Opinion, Opinion], classes: list[str], params: Params
) -> Answer:
    far = max(float(each.depth.max()) for each in opinions if each.depth is not None) if task == "depth" else 0.0
    teacher, student = (
        pictured(task, image, opinion, classes, colour=colour, far=far)
        for opinion, colour in zip(opinions, ("kept", "student"), strict=True)
    )
    least = params.multitask.evaluate.present
    told = [named(opinion, classes, least) if task == "classification" else "" for opinion in opinions]
    return Answer(task, teacher, student, *told)
