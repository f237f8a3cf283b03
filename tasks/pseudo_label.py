"""The pool, labelled."""

import hashlib
import itertools
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.distribution import Familiar
from tasks.io import whole
from tasks.params import Params, PseudoLabel
from tasks.progress import Progress
from tasks.training import calibration_of, rows_of
from tutelage.data.images import Images
from tutelage.data.manifest import digest_of, read_split
from tutelage.data.pseudo_labels import FOREIGN, SCHEMA, shard_name, write_manifest, write_shards
from tutelage.metrics.calibration import aligned, calibrated
from tutelage.models.files import Card, load_model
from tutelage.train.predict import checked, described, looks
from tutelage.types import Network

UNFINISHED = Path(".tutelage/labels")
PLAIN: dict[str, Any] = {"temperature": 1.0, "alignment": None}  # of a model without a calibration
Said = tuple[np.ndarray, np.ndarray]  # logits [n, c], distances to the labelled images [n], nan where nobody asked
Say = Callable[[Sequence[np.ndarray]], Iterator[Said]]  # of chunks of rows


def pseudo_label(split: Path, teacher: Path, calibration: Path, *, params: Params, out: Path) -> Path:
    """Pool, teacher, calibration -> shards (id, label, top-k, calibrated score, weight, kept or why not), manifest.

    What lies beyond the calibration's border is out of distribution: it has no weight, and no student sees it.

    A shard that is finished is never labelled again: a run that was killed goes on with the next one.
    """
    table = read_split(split)
    network, card = load_model(teacher / "model.safetensors")
    rules = rules_of(teacher, card, calibration)
    pool = rows_of(table, "pool")
    scratch = UNFINISHED / _fingerprint(table, card, rules, params)
    scratch.mkdir(parents=True, exist_ok=True)
    # Every image is read once, so keeping it would only make memory grow with the pool.
    images = Images.open(table, card.image_size, cache_bytes=0)
    say = told_by(table, network, images, rules, params)
    number = int(out.parent.name) if out.parent.name.isdigit() else 0
    made = shards(table["id"], pool, say, rules, params.pseudo_label, done=scratch, number=number)
    with Progress(f"pseudo_label@{out.parent.name}", len(pool)) as bar:
        for rows in write_shards(scratch, made):
            bar.update(rows)
    with whole(out) as folder:
        for path in scratch.glob("shard-*.parquet"):
            shutil.copy(path, folder / path.name)
        write_manifest(folder, card.classes, teacher=card.sha256, number=number)
    shutil.rmtree(scratch)
    return out


def told_by(table: pa.Table, network: Network, images: Images, rules: dict[str, Any], params: Params) -> Say:
    """What answers for chunks of rows of `table`, whose `images` it looks at."""
    views = looks(params.pseudo_label.views, flip=params.views.flip)
    asked = rules["out_of_distribution"] is not None
    measure = Familiar.of(table, network, images, params).known.distance if asked else _nobody_asked

    def say(chunks: Sequence[np.ndarray]) -> Iterator[Said]:
        for said, embedded in described(network, images, chunks, compute=params.compute, views=views):
            yield checked(said), measure(embedded)

    return say


def _nobody_asked(embedded: np.ndarray) -> np.ndarray:
    return np.full(len(embedded), np.nan, np.float32)


def rules_of(model: Path, card: Card, calibration: Path) -> dict[str, Any]:
    """What calibrate wrote of `model`. Raises BadInput for anything else."""

    def numbers(rules: dict[str, Any]) -> Iterator[float]:
        if rules["temperature"] == 0:
            raise ValueError("its temperature is 0")
        border = rules["out_of_distribution"]
        yield from (rules["temperature"], *(rules["alignment"] or []), *([] if border is None else [border["limit"]]))

    return calibration_of(model, calibration, sha256=card.sha256, numbers=numbers, least=0.0, kind="calibration")


def limits_of(rules: dict[str, Any]) -> np.ndarray:
    """The calibrated score of each class from which its label is kept [c]; infinite where none is."""
    return np.array([np.inf if row["threshold"] is None else row["threshold"] for row in rules["classes"]])


def soft(said: np.ndarray, rules: dict[str, Any]) -> np.ndarray:
    """Logits as the probabilities that a calibration makes of them, float32."""
    probabilities = calibrated(said, rules["temperature"])
    return probabilities if rules["alignment"] is None else aligned(probabilities, np.array(rules["alignment"]))


def shards(
    ids: pa.ChunkedArray, pool: np.ndarray, say: Say, rules: dict[str, Any], settings: PseudoLabel, *,
    done: Path, number: int,
) -> Iterator[tuple[int, pa.Table]]:  # fmt: skip
    """The shards of `pool` that are not in `done` yet; `say` answers for chunks of rows, in order.

    Chunks never cross a shard, so a shard's bytes do not depend on which others were made in the same run.
    """
    places = [pool[i : i + settings.shard_size] for i in range(0, len(pool), settings.shard_size)]
    todo = [i for i in range(len(places)) if not (done / shard_name(i)).exists()]
    chunks = [np.array_split(places[i], -(-len(places[i]) // settings.batch)) for i in todo]
    stream = say(list(itertools.chain(*chunks)))
    for place, parts in zip(todo, chunks, strict=True):
        told = zip(*itertools.islice(stream, len(parts)), strict=True)
        said, distance = (np.concatenate(each) for each in told)
        yield place, _table(ids.take(pa.array(places[place])), (said, distance), rules, settings, number)


def _table(names: pa.Array, told: Said, rules: dict[str, Any], settings: PseudoLabel, number: int) -> pa.Table:
    """One shard: every image of the pool has a row, kept or not."""
    said, distance = told
    border = rules["out_of_distribution"]
    inside = np.full(len(said), True) if border is None else distance <= border["limit"]
    probabilities = soft(said, rules)
    label, sure = probabilities.argmax(1), probabilities.max(1)
    limits = limits_of(rules)[label]
    closed = np.isinf(limits)
    kept = inside & (sure >= limits)
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
        "teacher": [rules["teacher"]] * rows,
        "round": np.full(rows, number, np.int32),
        "view": ["plain" if settings.views == 1 else f"mean of {settings.views}"] * rows,
    }
    return pa.table(columns, schema=SCHEMA)


def _fingerprint(table: pa.Table, card: Card, rules: dict[str, Any], params: Params) -> str:
    digest = hashlib.sha256(f"{card.sha256} {rules} {params.pseudo_label} {params.views} {params.compute}".encode())
    digest.update(digest_of(table))
    return digest.hexdigest()[:16]
