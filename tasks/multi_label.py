"""The pool, as one specialist sees it."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa

from tasks.box_training import sizes_of
from tasks.finished import UNFINISHED
from tasks.multi_params import LabelMulti
from tasks.multi_said import SCHEMAS, Maker, shard, too_far, write_manifest
from tasks.multi_teacher import task_of
from tasks.params import Params
from tasks.progress import Progress
from tasks.shards import missing, store
from tasks.text import percent
from tasks.training import rows_of
from tutelage.data.images import Images
from tutelage.data.manifest import classes_of, digest_of, read_split
from tutelage.data.pseudo_dense import TOP
from tutelage.models.multi import MultiNet
from tutelage.models.multi_files import MultiCard, load_multi
from tutelage.train.answers import Said, answers
from tutelage.train.device import arithmetic
from tutelage.types import BadInput

SHARDS = UNFINISHED / "multi"


def multi_label(split: Path, teacher: Path, *, params: Params, out: Path) -> Path:
    """Pool and the specialist for the task that `out` names -> shards of that task's store, manifest.

    A shard that is finished is never labelled again: a run that was killed goes on with the next one.
    """
    table, task = read_split(split), task_of(out, params)
    net, card = load_multi(teacher / "model.safetensors")
    if task not in net.tasks:
        raise BadInput(f"{teacher} has heads for {', '.join(net.tasks)}, and {out} is to hold answers for {task}")
    maker, pool = Maker(task, card.sha256, card.classes), rows_of(table, "pool")
    scratch = SHARDS / _fingerprint(table, maker, params)
    made = _shards(table, pool, (net, card), maker, params=params, done=scratch)
    return store(
        made, scratch, out, bar=Progress(f"multi_label@{task}", len(pool)), schema=SCHEMAS[task],
        describe=partial(write_manifest, maker=maker),
    )  # fmt: skip


def say(
    table: pa.Table, parts: Sequence[np.ndarray], model: tuple[MultiNet, MultiCard], params: Params, batch: int
) -> Iterator[Said]:
    """What a network says of the rows of all `parts`, in order. Batches never cross a part.

    BadInput where the split has other classes than it was trained on.
    """
    net, card = model
    if card.classes != classes_of(table):
        raise BadInput(f"the network knows the classes {card.classes}, the split {classes_of(table)}. Train it again")
    images = Images.open(table, card.image_size, cache_bytes=0, letterbox=True)  # each is read once
    chunks = [rows[first : first + batch] for rows in parts for first in range(0, len(rows), batch)]
    for chunk in answers(net, images, chunks, sizes_of(table), compute=params.compute):
        yield from chunk


def _shards(
    table: pa.Table, pool: np.ndarray, model: tuple[MultiNet, MultiCard], maker: Maker, *, params: Params, done: Path
) -> Iterator[tuple[int, pa.Table]]:
    """The shards that are not in `done` yet. Batches never cross a shard: its bytes do not depend on the others."""
    wanted = params.multitask.label
    todo = missing(pool, wanted.shard_size, done=done)
    said = say(table, [rows for _, rows in todo], model, params, wanted.batch)
    for place, rows in todo:
        ids = table["id"].take(pa.array(rows)).to_pylist()
        yield place, shard(ids, _watched(islice(said, len(rows)), wanted), maker, wanted)


def _watched(said: Iterable[Said], wanted: LabelMulti) -> Iterator[Said]:
    """A shard's answers one by one, and at their end a word on what of their depth is lost."""
    lost = []
    for each in said:
        if each.depth is not None:
            lost.append(too_far(each.depth, wanted.unit).mean())
        yield each
    if any(lost):
        share = percent(float(np.mean(lost)), 2)
        print(
            f"multi_label: {share} of the pixels are farther than {TOP / wanted.unit:g}, which "
            f"multitask.label.unit {wanted.unit:g} cannot keep: no depth is told there. Lower it",
            flush=True,
        )


def _fingerprint(table: pa.Table, maker: Maker, params: Params) -> str:
    digest = hashlib.sha256(f"{maker} {params.multitask.label} {arithmetic(params.compute)}".encode())
    digest.update(digest_of(table))
    return digest.hexdigest()[:16]
