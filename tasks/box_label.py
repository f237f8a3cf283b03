"""The pool, with boxes."""

import hashlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.box_answers import People, beside, find_each, people_of
from tasks.box_merge import Merge, merged
from tasks.box_training import pool_rows
from tasks.finished import UNFINISHED
from tasks.params import Params
from tasks.progress import Progress
from tasks.shards import missing, store
from tasks.training import calibration_of
from tutelage.data.manifest import digest_of, read_split
from tutelage.data.pseudo_boxes import SCHEMA, completed, to_table, write_manifest
from tutelage.models.files import DetectorCard, load_detector
from tutelage.train.device import arithmetic
from tutelage.types import BadInput, Detector

SHARDS = UNFINISHED / "boxes"


def box_label(
    split: Path, teacher: Path, calibration: Path, first: Path | None = None, first_calibration: Path | None = None, *,
    params: Params, out: Path,
) -> Path:  # fmt: skip
    """Pool, teacher, calibration -> shards (id, boxes, scores, kept or why not, weights), manifest.

    A labelled image in which nobody looked for some class is one of the pool as well: it has the boxes that a person
    marked, and those that the teacher finds beside them of that class.
    A round whose `boxes` are `agreed` or `fused` asks the first teacher too. A shard that is finished is never labelled
    again: a run that was killed goes on with the next one.
    """
    table, number = read_split(split), int(out.parent.name) if out.parent.name.isdigit() else 0
    settings = params.detection.rounds.get(number)
    rule: Merge = "teacher" if settings is None else settings.boxes
    sources = [_source(teacher, calibration, params)]
    if rule != "teacher":
        if first is None or first_calibration is None:
            raise BadInput(f"rounds.{number}.boxes is {rule!r}: name the first teacher and its calibration too")
        sources.insert(0, _source(first, first_calibration, params))
    card, pool = sources[-1].card, pool_rows(split, table)
    people = people_of(split, table, pool)
    scratch = SHARDS / _fingerprint(table, people, sources, rule, params)
    made = _shards(table, pool, people, sources, rule, params, done=scratch, number=number)
    return store(
        made, scratch, out, bar=Progress(f"box_label@{out.parent.name}", len(pool)), schema=SCHEMA,
        describe=partial(write_manifest, classes=card.classes, teacher=card.sha256, number=number),
    )  # fmt: skip


def rules_of(model: Path, card: DetectorCard, calibration: Path, params: Params) -> dict[str, Any]:
    """What box_calibrate wrote of `model`, looking at images in as many ways as are asked for. Raises BadInput."""

    def numbers(rules: dict[str, Any]) -> list[float]:
        rules["rule"], rules["looks"]
        return [rules["scale"], rules["shift"]]

    rules = calibration_of(
        model, calibration, sha256=card.sha256, numbers=numbers, least=-sys.float_info.max, kind="calibration of boxes"
    )
    if rules["looks"] != (looks := len(params.detection.ways)):
        raise BadInput(
            f"{calibration} was made with {rules['looks']} ways to look at an image, detection.label asks for {looks}. "
            "Run `dvc repro` to calibrate again"
        )
    return rules


@dataclass(frozen=True)
class _Source:
    """A detector, and what its scores are worth."""

    network: Detector
    card: DetectorCard
    rules: dict[str, Any]


def _source(teacher: Path, calibration: Path, params: Params) -> _Source:
    network, card = load_detector(teacher / "model.safetensors")
    return _Source(network, card, rules_of(teacher, card, calibration, params))


def _shards(
    table: pa.Table, pool: np.ndarray, people: People, sources: list[_Source], rule: Merge, params: Params, *,
    done: Path, number: int,
) -> Iterator[tuple[int, pa.Table]]:  # fmt: skip
    """The shards that are not in `done` yet. Batches never cross a shard: its bytes do not depend on the others."""
    settings, rules, teacher = params.detection.label, [one.rules for one in sources], sources[-1].card.sha256
    todo = missing(pool, settings.shard_size, done=done)
    ask = partial(find_each, compute=params.compute, batch=settings.batch, ways=params.detection.ways)
    said = [ask(table, [rows for _, rows in todo], one.network, one.card) for one in sources]
    for (place, rows), *found in zip(todo, *said, strict=True):
        ids = table["id"].take(pa.array(rows)).to_pylist()
        verdicts = [
            merged(each, rules, rule) for each in zip(*(beside(one, rows, people) for one in found), strict=True)
        ]
        verdicts = [completed(v, *people[r]) if r in people else v for r, v in zip(rows, verdicts, strict=True)]
        yield place, to_table(ids, verdicts, teacher=teacher, number=number)


def _fingerprint(table: pa.Table, people: People, sources: list[_Source], rule: Merge, params: Params) -> str:
    asked = [(one.card.sha256, one.rules) for one in sources]
    settings = f"{params.detection.label} {params.detection.ways} {arithmetic(params.compute)}"
    digest = hashlib.sha256(f"{asked} {rule} {settings} {SCHEMA.names}".encode())
    digest.update(digest_of(table))
    for given, known in people.values():
        for array in (*given, known):
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]
