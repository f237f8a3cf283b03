"""The pool, labelled."""

import hashlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from tasks.finished import UNFINISHED
from tasks.params import Params, PseudoLabel
from tasks.progress import Progress
from tasks.rules import Rules, rules_of
from tasks.shards import missing, store
from tasks.training import rows_of
from tutelage.data.images import Images
from tutelage.data.manifest import digest_of, read_split
from tutelage.data.pseudo_labels import FOREIGN, SCHEMA, write_manifest
from tutelage.data.quota import keep_surest
from tutelage.metrics.calibration import calibrated
from tutelage.models.files import load_model
from tutelage.train.device import arithmetic
from tutelage.train.predict import checked, described
from tutelage.train.settings import Compute
from tutelage.types import Network

SHARDS = UNFINISHED / "labels"
Said = tuple[np.ndarray, np.ndarray]  # logits [n, c], distances to the labelled images [n], nan where nobody asked
Say = Callable[[Sequence[np.ndarray]], Iterator[Said]]  # of chunks of rows


def pseudo_label(split: Path, teacher: Path, calibration: Path, *, params: Params, out: Path) -> Path:
    """Pool, teacher, calibration -> shards (id, label, top-k, calibrated score, weight, kept or why not), manifest.

    What lies beyond the calibration's border is out of distribution: it has no weight, and no student sees it. Which
    labels a quota leaves out is known when all shards are there.

    A shard that is finished is never labelled again: a run that was killed goes on with the next one.
    """
    table = read_split(split)
    network, card = load_model(teacher / "model.safetensors")
    rules = rules_of(teacher, card, calibration)
    pool = rows_of(table, "pool")
    scratch = SHARDS / _fingerprint(table, calibration, params)
    # Every image is read once, so keeping it would only make memory grow with the pool.
    images = Images.open(table, card.image_size, cache_bytes=0)
    say = told_by(network, images, rules, params.compute)
    number = int(out.parent.name) if out.parent.name.isdigit() else 0
    made = shards(table["id"], pool, say, rules, params.pseudo_label, done=scratch, number=number)

    def describe(folder: Path) -> None:
        if (quota := params.pseudo_label.quota) is not None:
            keep_surest(folder, quota, rejected=params.pseudo_label.rejected)
        write_manifest(folder, card.classes, teacher=card.sha256, number=number)

    bar = Progress(f"pseudo_label@{out.parent.name}", len(pool))
    return store(made, scratch, out, bar=bar, schema=SCHEMA, describe=describe)


def told_by(network: Network, images: Images, rules: Rules, compute: Compute) -> Say:
    """What answers for chunks of rows of `images`."""

    def say(chunks: Sequence[np.ndarray]) -> Iterator[Said]:
        for said, embedded in described(network, images, chunks, compute=compute, views=rules.looks):
            yield checked(said), rules.border.distance(embedded)

    return say


def shards(
    ids: pa.ChunkedArray, pool: np.ndarray, say: Say, rules: Rules, settings: PseudoLabel, *,
    done: Path, number: int,
) -> Iterator[tuple[int, pa.Table]]:  # fmt: skip
    """The shards of `pool` that are not in `done` yet; `say` answers for chunks of rows, in order.

    Chunks never cross a shard, so a shard's bytes do not depend on which others were made in the same run.
    """
    todo = missing(pool, settings.shard_size, done=done)
    chunks = [np.array_split(rows, -(-len(rows) // settings.batch)) for _, rows in todo]
    stream = say(list(itertools.chain(*chunks)))
    for (place, rows), parts in zip(todo, chunks, strict=True):
        told = zip(*itertools.islice(stream, len(parts)), strict=True)
        said, distance = (np.concatenate(each) for each in told)
        yield place, _table(ids.take(pa.array(rows)), (said, distance), rules, settings, number)


def _table(names: pa.Array, told: Said, rules: Rules, settings: PseudoLabel, number: int) -> pa.Table:
    """One shard: every image of the pool has a row, kept or not."""
    said, distance = told
    inside, probabilities = rules.border.inside(distance), rules.soft(said)
    label, sure = probabilities.argmax(1), probabilities.max(1)
    closed, kept = np.isinf(rules.limit(label)), rules.kept(label, sure, distance)
    top = np.argsort(-probabilities, axis=1, kind="stable")[:, : settings.top_k]
    rows = len(names)
    columns = {
        "id": names,
        "task": ["classification"] * rows,
        "label": label.astype(np.int32),
        "classes": list(top.astype(np.int32)),
        "probabilities": list(np.take_along_axis(probabilities, top, axis=1)),
        "score": calibrated(said, 1.0).max(1),
        "calibrated": sure,
        "distance": pa.array(distance, from_pandas=True),  # nan is null
        "weight": np.where(kept, 1.0, settings.rejected * inside).astype(np.float32),
        "kept": kept,
        "reason": np.select([kept, ~inside, closed], ["", FOREIGN, "class_rejected"], "below_threshold"),
        "teacher": [rules.teacher] * rows,
        "round": np.full(rows, number, np.int32),
        "view": ["plain" if rules.views == 1 else f"mean of {rules.views}"] * rows,
    }
    return pa.table(columns, schema=SCHEMA)


def _fingerprint(table: pa.Table, calibration: Path, params: Params) -> str:
    digest = hashlib.sha256(f"{params.pseudo_label} {arithmetic(params.compute)}".encode())
    digest.update((calibration / "calibration.json").read_bytes())  # names the model, and what lies beside it
    digest.update(digest_of(table))
    return digest.hexdigest()[:16]
